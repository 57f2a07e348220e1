"""Requests of hostile clients, as bytes on raw connections from an address of their own."""

import gzip
import http.client
import socket
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack

from service.auth import key_file

HOSTILE_ADDRESS = "127.0.0.2"
HONEST_KEY, HONEST_LINE = key_file.new("honest")
HOSTILE_KEY, HOSTILE_LINE = key_file.new("hostile", "rate=5 burst=10")
_GIVES_UP_S = 90.0

Send = Callable[[int], Counter[int]]
"""Sends a case's requests once to a port, and counts the answers; 0 is a connection without one."""


def message(
    path: str, body: bytes = b"", *fields: str, method: str = "POST", packed: bool = True
) -> bytes:
    """Build one request, whose body is packed with gzip where that makes it shorter."""
    small = gzip.compress(body, 6, mtime=0) if packed else body
    if len(small) < len(body):
        body, fields = small, (*fields, "Content-Encoding: gzip")
    return head(path, f"Content-Length: {len(body)}", *fields, method=method) + body


def head(path: str, *fields: str, method: str = "POST") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", *fields, "", "")
    return "\r\n".join(lines).encode()


def connect(port: int) -> socket.socket:
    return socket.create_connection(
        ("127.0.0.1", port), timeout=_GIVES_UP_S, source_address=(HOSTILE_ADDRESS, 0)
    )


def exchange(port: int, parts: Iterable[bytes]) -> int:
    """Send the parts of a request, and return the status of its answer, which is read whole."""
    try:
        with connect(port) as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:  # the server closes early; its answer may have come
                pass
            return status(connection)
    except OSError:
        return 0


def status(connection: socket.socket) -> int:
    """Read one answer, and return its status; 0 where none comes."""
    answer = http.client.HTTPResponse(connection)
    try:
        answer.begin()
        while answer.read(1 << 20):
            pass
    except (OSError, http.client.HTTPException):
        pass
    finally:
        answer.close()
    return answer.status if isinstance(answer.status, int) else 0


def at_once(port: int, requests: Sequence[Iterable[bytes]]) -> Counter[int]:
    """Send requests at the same time, each over its own connection."""
    statuses: Counter[int] = Counter()
    lock = threading.Lock()

    def one(parts: Iterable[bytes]) -> None:
        found = exchange(port, parts)
        with lock:
            statuses[found] += 1

    threads = [threading.Thread(target=one, args=(parts,)) for parts in requests]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return statuses


def held(port: int, first: Sequence[bytes], seconds: float, then: bytes = b"") -> Counter[int]:
    """Open a connection for each message, send it, and keep it without reading the answer.

    Args:
        port: the server's port.
        first: what each connection sends.
        seconds: how long to keep them.
        then: what each sends again every two seconds, reading what came; nothing if empty.
    """
    statuses: Counter[int] = Counter()
    with ExitStack() as stack:
        connections = []
        for each in first:
            try:
                connection = stack.enter_context(connect(port))
                connection.setblocking(False)
                connection.send(each)
                connections.append(connection)
            except OSError:
                statuses[0] += 1
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(2.0, max(0.0, until - time.monotonic())))
            for connection in connections if then else ():
                try:
                    answer = connection.recv(1 << 16)
                    statuses[int(answer[9:12]) if answer else 0] += 1
                    connection.send(then)
                except (OSError, ValueError):
                    statuses[0] += 1
    return statuses


def form(*files: bytes) -> tuple[str, bytes]:
    """Build a form of files: its content type as a header field, and its body."""
    lines = b"".join(
        b'--b\r\nContent-Disposition: form-data; name="files"; filename="f"\r\n\r\n%b\r\n' % file
        for file in files
    )
    return "Content-Type: multipart/form-data; boundary=b", lines + b"--b--\r\n"
