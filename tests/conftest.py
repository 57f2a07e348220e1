"""One store and one real server for all tests that need them; nothing of the user's is touched."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
from hypothesis import settings

# The same examples in every run, and no limit on the time of one: what fails is what was changed.
settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory):
    """The model store of this test run."""
    folder = tmp_path_factory.mktemp("store")
    for name in [name for name in os.environ if name.startswith("WARPGUARD_")]:
        del os.environ[name]
    os.environ["WARPGUARD_STORE"] = str(folder)
    return folder


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def status(port, path):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


class Service(subprocess.Popen):
    """A process whose standard error goes to a file: a full pipe would stop it in mid-request."""

    def __init__(self, arguments, log, **options):
        self.log = log
        with log.open("w") as stream:
            super().__init__(arguments, stderr=stream, text=True, **options)

    def communicate(self, timeout=None):
        self.wait(timeout)
        return None, self.log.read_text()


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Start ``warpguard serve`` in a process of its own; gives (process, port)."""
    processes = []
    logs = tmp_path_factory.mktemp("logs")

    def start(*options, environment=None, ready=True):
        port = free_port()
        process = Service(
            [sys.executable, "-m", "service", "serve", "--port", str(port), *options],
            logs / f"{len(processes)}.log",
            env=os.environ | (environment or {}),
        )
        processes.append(process)
        give_up = time.monotonic() + 120
        while ready and status(port, "/readyz") != 200:
            assert process.poll() is None, process.log.read_text()
            assert time.monotonic() < give_up
            time.sleep(0.05)
        return process, port

    yield start
    for process in processes:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
    for process in processes:
        process.communicate(timeout=60)


@pytest.fixture(scope="session")
def server(serve):
    """The address of a server with the embedded model and the settings of the documentation."""
    _, port = serve()
    return f"http://127.0.0.1:{port}"
