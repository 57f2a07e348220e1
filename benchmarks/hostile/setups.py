"""Cases for servers that are set up otherwise: before another classifier, and with keys."""

import time
import zlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import chain, repeat

from benchmarks.hostile import files
from benchmarks.hostile.case import ANY, MODEL, Case, numbers, requested
from benchmarks.hostile.requests import HOSTILE_KEY, message
from benchmarks.hostile.upstream import HOSTILE_PATH, answered


def _behind(answer: Callable[[], Iterable[bytes]]) -> Case:
    """Let the classifier behind the server give a hostile answer."""
    fields = "Inference-Header-Content-Length: 0"
    sent = requested(lambda: message(HOSTILE_PATH, files.saved("JPEG"), fields))
    return replace(sent, upstream=answer)


def _endless(start: bytes, piece: bytes) -> Callable[[], Iterable[bytes]]:
    return lambda: chain([start], repeat(piece))


def _slow() -> Iterable[bytes]:
    yield b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n"
    while True:
        time.sleep(0.5)
        yield b"a"


def _packed_zeros() -> Iterable[bytes]:
    """One stream, whose blocks do not depend on each other."""
    pack = zlib.compressobj(9, wbits=-15)
    block = pack.compress(bytes(1 << 20)) + pack.flush(zlib.Z_FULL_FLUSH)
    yield answered(b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + block * 500, "Content-Encoding: gzip")


_OK = b"HTTP/1.1 200 OK\r\n"
UPSTREAM = {
    "upstream: an answer without an end": _behind(_endless(_OK + b"\r\n", bytes(1 << 18))),
    "upstream: a byte each half second": _behind(_slow),
    "upstream: gzip of 500 MB": _behind(_packed_zeros),
    "upstream: an unknown coding": _behind(lambda: [answered(b"a", "Content-Encoding: br")]),
    "upstream: a head without an end": _behind(_endless(_OK, b"a: " + b"b" * 1000 + b"\r\n")),
    "upstream: a field without an end": _behind(_endless(_OK + b"a: ", b"b" * (1 << 18))),
    "upstream: no HTTP": _behind(lambda: [b"a" * 100_000]),
    "upstream: status 999": _behind(lambda: [answered(b"{}", status="999 Odd")]),
}


def _with_keys(make: Callable[[str], bytes], *options: str, key: str = HOSTILE_KEY) -> Case:
    return replace(requested(lambda: make(f"X-API-Key: {key}"), *options), has_keys=True)


KEYS = {
    "keys: wrong ones": _with_keys(
        lambda field: message(ANY, files.saved("JPEG"), field), key=f"wg_{'a' * 43}"
    ),
    "keys: a wrong one, and 31 MB": _with_keys(
        lambda field: message(ANY, bytes(files.MOST_BYTES), field, packed=False), key="wrong"
    ),
    "keys: refused work of one key": _with_keys(
        lambda field: message(MODEL, numbers(7_000_000), field)
    ),
    "keys: reloads by one key": _with_keys(
        lambda field: message("/v2/repository/models/efficientnet-lite2/load", b"", field),
        "--allow-load",
    ),
}
