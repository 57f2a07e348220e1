"""The upstream's answer, checked: its status, its headers, its coding and its size."""

import asyncio
import re
import zlib
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from http import HTTPStatus

import h11

from service.errors import UpstreamAnswerError

_PASSED_BACK = ("content-type", "inference-header-content-length", "retry-after")
_HEADER_LENGTH = "inference-header-content-length"
_PRINTABLE = re.compile(r"[\x20-\x7e]{1,256}")
_DIGITS = re.compile(r"[0-9]{1,18}")
_NOT_PASSED_BACK = (
    HTTPStatus.NO_CONTENT,
    HTTPStatus.RESET_CONTENT,
    HTTPStatus.PARTIAL_CONTENT,
    HTTPStatus.PROXY_AUTHENTICATION_REQUIRED,
)
_GZIP_WBITS = 31
_PIECE = 256 * 1024


@dataclass(frozen=True)
class Reply:
    """The upstream's answer, to be passed back unchanged.

    Attributes:
        status: the HTTP status.
        headers: those that describe the body, and when to try again.
        body: decompressed.
    """

    status: int
    headers: dict[str, str]
    body: bytes


async def read_answer(
    head: h11.Response,
    body: AsyncIterator[bytes],
    *,
    max_bytes: int,
    hold: Callable[[int], None],
) -> Reply:
    """Check and read an answer.

    Args:
        head: its status and headers.
        body: its body, as it is received.
        max_bytes: the largest body, both received and decompressed.
        hold: called with the number of bytes of each piece that is kept.

    Raises:
        UpstreamAnswerError: the answer cannot be passed back.
    """
    headers: dict[str, list[str]] = {}
    for name, value in head.headers:
        headers.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    kept = _checked(head.status_code, headers)
    coding = ", ".join(headers.get("content-encoding", [])).strip().lower().removeprefix("x-")
    if coding not in ("", "identity", "gzip"):
        raise _refused("has a content encoding other than gzip")
    if int(headers.get("content-length", ["0"])[0]) > max_bytes:
        raise _too_large(max_bytes)
    body = _bounded(body, max_bytes)
    if coding == "gzip":
        body = _bounded(_decompressed(body), max_bytes)
    pieces = []
    async for piece in body:
        hold(len(piece))
        pieces.append(piece)
    reply = Reply(head.status_code, kept, b"".join(pieces))
    if int(kept.get(_HEADER_LENGTH, "0")) > len(reply.body):
        raise _refused(f"has a header {_HEADER_LENGTH} larger than its body")
    return reply


def _checked(status: int, headers: dict[str, list[str]]) -> dict[str, str]:
    """Return the headers that are passed back with an answer of this status."""
    if status // 100 not in (2, 4, 5) or status in _NOT_PASSED_BACK:
        raise _refused(f"has the status {status}")
    hop_by_hop = {
        name.strip().lower() for value in headers.get("connection", []) for name in value.split(",")
    }
    kept = {}
    for name in _PASSED_BACK:
        if name in hop_by_hop or name not in headers:
            continue
        kept[name], *more = headers[name]
        valid = _DIGITS if name == _HEADER_LENGTH else _PRINTABLE
        if more or not valid.fullmatch(kept[name]):
            raise _refused(f"has a header {name} that is not valid")
    return kept


async def _bounded(pieces: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    left_bytes = max_bytes
    async for piece in pieces:
        left_bytes -= len(piece)
        if left_bytes < 0:
            raise _too_large(max_bytes)
        yield piece


async def _decompressed(body: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Decompress gzip in pieces of bounded size."""
    decompressor = zlib.decompressobj(_GZIP_WBITS)
    async for compressed in body:
        full = True
        while compressed or full:
            try:
                piece = decompressor.decompress(compressed, _PIECE)
            except zlib.error:
                raise _refused("is not valid gzip") from None
            if decompressor.unused_data:
                raise _refused("has bytes after the end of its gzip stream")
            yield piece
            compressed = decompressor.unconsumed_tail
            full = len(piece) == _PIECE and not decompressor.eof
            await asyncio.sleep(0)  # little input can have much output: let others have a turn
    if not decompressor.eof:
        raise _refused("is cut short: its gzip stream does not end")


def _too_large(max_bytes: int) -> UpstreamAnswerError:
    return _refused(f"is larger than {max_bytes} bytes")


def _refused(why: str) -> UpstreamAnswerError:
    return UpstreamAnswerError(f"The answer of the classifier behind this server {why}.")
