"""A service in a process of its own, for benchmarks that talk to it over HTTP."""

import http.client
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

START_LIMIT_S = 180.0


@dataclass(frozen=True)
class Server:
    """A running service: where it listens, and its process."""

    port: int
    pid: int


@contextmanager
def serving(*options: str) -> Iterator[Server]:
    """Start ``warpguard serve`` with some options, and give it once it is ready."""
    port = free_port()
    command = [sys.executable, "-m", "service", "serve", "--port", str(port), *options]
    process = subprocess.Popen([*command, "--log-level", "error"])
    try:
        give_up = time.monotonic() + START_LIMIT_S
        while _status(port, "/readyz") != 200:
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"the service did not become ready: exit {process.poll()}")
            time.sleep(0.05)
        yield Server(port, process.pid)
    finally:
        process.terminate()
        process.wait(60)


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> bytes:
    """One request on a connection that stays open; the body of a 200."""
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return content


def _status(port: int, path: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()
