"""Compressed bodies, both ways: ``Content-Encoding`` of requests, ``Accept-Encoding`` of answers.

``deflate`` is zlib's format, as RFC 9110 defines it and as the stock clients send it.
"""

import asyncio
import zlib
from contextlib import suppress

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BadRequestError, BodyTooLargeError, UnsupportedMediaError

_WBITS = {"gzip": 31, "deflate": 15}
"""zlib's number for each coding, the preferred one first."""
_PIECE = 256 * 1024
_SMALL = 1024
_COMPRESSIBLE = ("application/json", "application/octet-stream")


class Compression:
    """ASGI middleware that decompresses requests and compresses answers.

    Only a POST's answer with status 200 is compressed, because Triton's clients decompress the
    answers of inferences and no errors.
    """

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        """Wrap an application.

        Args:
            app: reads the decompressed body.
            max_bytes: the largest decompressed body.
        """
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request; errors of its body are raised where the body is read."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        coding = ", ".join(headers.getlist("content-encoding")).strip().lower()
        if coding not in ("", "identity"):
            # The scope is not copied, since the router puts the route there for the metrics.
            scope["headers"] = [
                (name, value)
                for name, value in scope["headers"]
                if name not in (b"content-encoding", b"content-length")
            ]
            receive = _DecompressedReceive(receive, coding.removeprefix("x-"), self._max_bytes)
        wanted = accepted(", ".join(headers.getlist("accept-encoding")))
        if scope["method"] == "POST" and wanted is not None:
            send = _CompressedSend(send, wanted)
        await self._app(scope, receive, send)


class _DecompressedReceive:
    """Receives a compressed body decompressed, in pieces of bounded size."""

    def __init__(self, receive: Receive, coding: str, max_bytes: int) -> None:
        self._receive = receive
        self._coding = coding
        self._max_bytes = self._left = max_bytes
        self._zlib = zlib.decompressobj(_WBITS.get(coding, 0))
        self._compressed = b""
        self._more = True
        self._full = False

    async def __call__(self) -> Message:
        if self._coding not in _WBITS:
            raise UnsupportedMediaError(
                f"This server reads the content encodings {' and '.join(_WBITS)}, one at a time."
            )
        if self._full:
            await asyncio.sleep(0)  # a little input can have much output: let others have a turn
        else:
            message = await self._receive()
            if message["type"] != "http.request":
                return message
            self._compressed = message.get("body", b"")
            self._more = message.get("more_body", False)
        piece = self._decompress(min(_PIECE, self._left + 1))
        if not (self._more or self._full or self._zlib.eof):
            raise BadRequestError(f"The body's {self._coding} stream is cut short.")
        return {"type": "http.request", "body": piece, "more_body": self._more or self._full}

    def _decompress(self, most: int) -> bytes:
        """The next bytes of the body, at most so many; if so many, more may follow at once."""
        try:
            piece = self._zlib.decompress(self._compressed, most)
        except zlib.error:
            raise BadRequestError(f"The body is not {self._coding}, or is corrupted.") from None
        self._left -= len(piece)
        if self._left < 0:
            raise BodyTooLargeError(
                f"The decompressed body is larger than {self._max_bytes} bytes."
            )
        if self._zlib.unused_data:
            raise BadRequestError(f"The body has bytes after the end of its {self._coding} stream.")
        self._compressed = self._zlib.unconsumed_tail
        self._full = len(piece) == most and not self._zlib.eof
        return piece


def accepted(header: str) -> str | None:
    """The coding of the answer to a request with this ``Accept-Encoding``; None for no coding."""
    qualities = {}
    for part in header.lower().split(","):
        name, _, parameter = part.partition(";")
        try:
            quality = float(parameter.strip().removeprefix("q=")) if parameter else 1.0
        except ValueError:
            continue
        qualities[name.strip().removeprefix("x-")] = quality
    best = max(_WBITS, key=lambda coding: qualities.get(coding, 0.0))
    return best if qualities.get(best, 0.0) > 0 else None


class _CompressedSend:
    """Sends an answer, compressed if it is large enough."""

    def __init__(self, send: Send, coding: str) -> None:
        self._send = send
        self._coding = coding
        self._start: Message | None = None

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            content_type = Headers(raw=message["headers"]).get("content-type")
            if message["status"] == 200 and content_type in _COMPRESSIBLE:
                self._start = message  # kept until the body's length is known
                return
        elif self._start is not None:
            start, self._start = self._start, None
            body = message.get("body", b"")
            if len(body) >= _SMALL and not message.get("more_body", False):
                with suppress(MemoryError):  # then it goes as it is
                    message["body"] = await asyncio.to_thread(self._compress, body)
                    headers = MutableHeaders(raw=start["headers"])
                    headers["content-encoding"] = self._coding
                    headers["content-length"] = str(len(message["body"]))
                    headers.add_vary_header("accept-encoding")
            await self._send(start)
        await self._send(message)

    def _compress(self, body: bytes) -> bytes:
        return zlib.compress(body, level=1, wbits=_WBITS[self._coding])
