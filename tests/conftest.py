"""One store and one real server for all tests that need them; the user's own stay untouched."""

import os
import subprocess
import sys

import pytest
from hypothesis import settings

from harness.server import Server

# In each layer two threads of PyTorch would wait for each other, for long on a busy machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")
PATIENCE_MS = "600000"
"""The servers' deadline. The default of ten seconds may pass while other processes compute."""

# Every run takes the same examples, and no example has a time limit: a failure means a change.
settings.load_profile("ci")


@pytest.fixture(scope="session", autouse=True)
def store(tmp_path_factory):
    """The model store of this test run."""
    folder = tmp_path_factory.mktemp("store")
    for name in [name for name in os.environ if name.startswith("WARPGUARD_")]:
        del os.environ[name]
    os.environ["WARPGUARD_STORE"] = str(folder)
    return folder


@pytest.fixture(scope="session")
def pip_install():
    """Install a package from a folder into another, without a network and without dependencies."""

    def install(source, target):
        options = ("--no-deps", "--no-build-isolation", "--no-index", "--quiet", "--target")
        command = [sys.executable, "-m", "pip", "install", *options, str(target), str(source)]
        # The packages that are installed here must be imported from the target, not from this run.
        variables = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr

    return install


class Service(Server):
    """A server whose log stands in for its standard error."""

    def communicate(self, timeout=None):
        self.wait(timeout)
        return None, self.log.read_text()


@pytest.fixture(scope="session")
def serve(tmp_path_factory):
    """Start ``warpguard serve`` in a process of its own; returns (process, port)."""
    services = []
    logs = tmp_path_factory.mktemp("logs")

    def start(*options, environment=None, ready=True):
        variables = {"WARPGUARD_DEADLINE_MS": PATIENCE_MS} | (environment or {})
        service = Service(*options, log=logs / f"{len(services)}.log", variables=variables)
        services.append(service)
        if ready:
            service.wait_until_ready()
        return service, service.port

    yield start
    for service in services:
        service.terminate()
    for service in services:
        service.stop()


@pytest.fixture(scope="session")
def server(serve):
    """The address of a server with the embedded model and the settings of the documentation."""
    service, _ = serve()
    return service.url
