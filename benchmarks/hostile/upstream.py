"""A classifier behind the server, which answers hostile requests as a case says."""

import json
import re
import socketserver
import threading
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Self

MODEL = "m"
HONEST_PATH = f"/v2/models/{MODEL}/infer"
HOSTILE_PATH = f"/v2/models/{MODEL}/versions/9/infer"
"""A request with this path gets the hostile answer, and all others an ordinary one."""

_LENGTH = re.compile(rb"(?:^|\n)content-length: *([0-9]+)", re.IGNORECASE)


def answered(body: bytes, *fields: str, status: str = "200 OK") -> bytes:
    """Build an answer."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *fields, "", "")
    return "\r\n".join(lines).encode() + body


class Upstream(socketserver.ThreadingTCPServer):
    """Serves from a port of its own, as a context.

    Args:
        answer: the pieces of a hostile answer.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, answer: Callable[[], Iterable[bytes]]) -> None:
        super().__init__(("127.0.0.1", 0), _Connection)
        self.hostile_answer = answer
        self.host = f"127.0.0.1:{self.server_address[1]}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class _Connection(socketserver.StreamRequestHandler):
    server: Upstream

    def handle(self) -> None:
        with suppress(OSError):
            while request := self.rfile.readline():
                fields = b"".join(iter(self.rfile.readline, b"\r\n"))
                length = _LENGTH.search(fields)
                self.rfile.read(int(length[1]) if length else 0)
                path = request.split()[1].decode()
                if path == HOSTILE_PATH:
                    for piece in self.server.hostile_answer():
                        self.wfile.write(piece)
                    return
                self.wfile.write(answered(json.dumps(_ordinary(path)).encode()))


def _ordinary(path: str) -> dict[str, object]:
    if path == "/v2":
        return {"name": "upstream", "version": "1", "extensions": ["binary_tensor_data"]}
    if path.endswith("/ready"):
        return {"name": MODEL, "ready": True}
    pixels = {"name": "pixels", "datatype": "UINT8", "shape": [-1, 224, 224, 3]}
    return {"name": MODEL, "platform": "none", "inputs": [pixels], "outputs": []}
