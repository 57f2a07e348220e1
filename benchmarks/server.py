"""A service in a process of its own, for benchmarks that talk to it over HTTP."""

import http.client

from harness.server import Server, free_port

__all__ = ["ask", "free_port", "serving"]


def serving(*options: str) -> Server:
    """Start ``warpguard serve`` with some options; as a context it waits until it is ready."""
    return Server(*options, "--log-level", "error")


def ask(connection: http.client.HTTPConnection, path: str, body: bytes | None = None) -> bytes:
    """Send one request on an open connection, and return the body of its answer, a 200."""
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    content = answer.read()
    if answer.status != 200:
        raise RuntimeError(f"{path}: {answer.status} {content[:300]!r}")
    return content
