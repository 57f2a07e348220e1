"""What is sent to the server. A case sends its request three times at once, again and again."""

import gzip
import json
import time
import zlib
from collections import Counter
from collections.abc import Callable, Iterable
from functools import partial

from benchmarks.hostile import files
from benchmarks.hostile.case import (
    ANY,
    HELD_S,
    MODEL,
    Case,
    kept,
    numbers,
    posted,
    posted_form,
    requested,
    streamed,
)
from benchmarks.hostile.requests import at_once, connect, head, held, message, status
from benchmarks.hostile.setups import KEYS, UPSTREAM

SPARE_CONNECTIONS = 64

IMAGES: dict[str, Callable[[], bytes]] = {
    "jpeg: 8 million empty APP5": (lambda: files.jpeg_with(files.filled(files.segment(0xE5)))),
    "jpeg: 8 million comments": (lambda: files.jpeg_with(files.filled(b"\xff\xfe\0\2"))),
    "jpeg: fill bytes": (lambda: files.jpeg_with(files.filled(b"\xff"))),
    "jpeg: restart markers": (lambda: files.jpeg_with(files.filled(b"\xff\xd0"))),
    "jpeg: parts of a profile": files.jpeg_icc,
    "jpeg: EXIF blocks of 64 KB": (
        lambda: files.jpeg_with(files.filled(files.segment(0xE1, b"Exif\0\0" + bytes(65_000))))
    ),
    "jpeg: APP13": (
        lambda: files.jpeg_with(files.filled(files.segment(0xED, b"Photoshop 3.0\0" + bytes(9))))
    ),
    "jpeg: Huffman tables": (lambda: files.jpeg_with(files.filled(files.segment(0xC4, bytes(17))))),
    "jpeg: a thousand scans": files.jpeg_scans,
    "jpeg: a hundred scans": (
        lambda: (
            files.saved("JPEG", files.LARGE_PX, progressive=True)[:-2] + files.jpeg_scans()[-3000:]
        )
    ),
    "jpeg: no image data": files.jpeg_without_data,
    "jpeg: 25 megapixels": (lambda: files.saved("JPEG", files.LARGE_PX)),
    "jpeg: CMYK of 25 megapixels": (lambda: files.saved("JPEG", files.LARGE_PX, "CMYK")),
    "jpeg: scans of two bytes": (
        lambda: files.saved("JPEG")[:-2] + files.filled(b"\xff\xda\0\2") + b"\xff\xd9"
    ),
    "png: empty private chunks": (lambda: files.png_with(files.filled(files.chunk(b"prVt")))),
    "png: texts": (lambda: files.png_with(files.filled(files.chunk(b"tEXt", b"a\0b")))),
    "png: texts behind the image data": (
        lambda: files.png_with(b"", files.filled(files.chunk(b"tEXt", b"a\0b")))
    ),
    "png: compressed texts": (
        lambda: files.png_with(
            files.filled(files.chunk(b"zTXt", b"a\0\0" + files.deflated_zeros(1)), 3 << 20)
        )
    ),
    "png: a profile of 256 MB": partial(files.png_profile, True),
    "png: a profile of 4 MB": partial(files.png_profile, False),
    "png: frame controls": (lambda: files.png_with(files.filled(files.chunk(b"fcTL", bytes(26))))),
    "png: image data in empty chunks": files.png_tiny_data,
    "png: 25 megapixels of 16 bits": partial(files.png_zeros, 16, 6),
    "png: 25 megapixels, interlaced": partial(files.png_zeros, 8, 6, 1),
    "png: 25 megapixels of 1 bit": partial(files.png_zeros, 1, 0),
    "png: EXIF that lies": files.lying_exif,
    "gif: blocks of 1 byte": (lambda: files.gif_with(b"!\xff" + files.filled(b"\1a") + b"\0")),
    "gif: comments": (lambda: files.gif_with(files.filled(b"!\xfe\1a\0"))),
    "gif: empty extensions": (lambda: files.gif_with(files.filled(b"!\xfe\0"))),
    "gif: garbage": (lambda: files.gif_with(files.filled(b"\7"))),
    "gif: 25 megapixels without data": files.gif_large,
    "gif: 25 megapixels of blocks of 1 byte": (lambda: files.gif_large(files.filled(b"\1\0"))),
    "tiff: tiles of 1 px": files.tiff_tiny_tiles,
    "tiff: strips of 1 row": files.tiff_tiny_strips,
    "tiff: strips of 1 row, deflated": partial(files.tiff_tiny_strips, 8),
    "tiff: strips of 1 row in planes": partial(files.tiff_tiny_strips, 1, 3),
    "tiff: 60,000 tags that share 1 MB": files.tiff_amplified,
    "tiff: a loop of directories": files.tiff_loop,
    "tiff: 2^63 tags": files.bigtiff_endless,
    "tiff: fax without rows": files.tiff_bilevel_rows,
    "tiff: 25 megapixels, zstd": (lambda: files.saved("TIFF", files.LARGE_PX, compression="zstd")),
    "tiff: 25 megapixels, lzma": (lambda: files.saved("TIFF", files.LARGE_PX, compression="lzma")),
    "tiff: 25 megapixels, jpeg": (lambda: files.saved("TIFF", files.LARGE_PX, compression="jpeg")),
    "bmp: 16 million runs": (lambda: files.bmp_runs(files.filled(b"\1\7"), 4000)),
    "bmp: ends of empty rows": (lambda: files.bmp_runs(files.filled(b"\0\0"))),
    "bmp: runs of 1 px and ends of rows": (lambda: files.bmp_runs(files.filled(b"\1\7\0\0"))),
    "bmp: skips": (lambda: files.bmp_runs(files.filled(b"\0\2\1\0"))),
    "webp: 25 megapixels": (lambda: files.saved("WEBP", files.LARGE_PX, lossless=True)),
    "webp: frames of 25 megapixels": files.webp_frames,
    "webp: unknown chunks": files.webp_chunks,
    "avif: 25 megapixels": (lambda: files.saved("AVIF", files.LARGE_PX, speed=10)),
    "avif: empty boxes": files.avif_boxes,
    "avif: properties": files.avif_items,
    "noise: WebP of 9 megapixels": (lambda: files.noise(3000, "WEBP", lossless=True, method=0)),
    "noise: TIFF of 9 megapixels, lzma": (lambda: files.noise(3000, "TIFF", compression="lzma")),
}


def _defended_json() -> bytes:
    """Ask for 90 defended images as text."""
    image = {"name": "i", "datatype": "UINT8", "shape": [6, 8, 8, 3], "data": [0] * 1152}
    wanted = {"name": "defended", "parameters": {"binary_data": False}}
    asked = {"inputs": [image], "outputs": [wanted], "parameters": {"draws": 16}}
    return json.dumps(asked).encode()


JSON = {
    "json: 16 million numbers": posted(lambda: numbers(15_500_000), MODEL),
    "json: 7,000 numbers of 4,300 digits": posted(
        lambda: numbers(7_000, b"9" * 4300 + b","), MODEL
    ),
    "json: 100,000 levels": posted(lambda: b"[" * 100_000 + b"]" * 100_000, MODEL),
    "json: a string of 31 MB": posted(lambda: b'{"id":"' + b"a" * files.MOST_BYTES + b'"}', MODEL),
    "json: 10 million empty lists": posted(lambda: numbers(10_000_000, b"[],"), MODEL),
    "json: answers of 80 MB": posted(_defended_json, MODEL),
    "json: answers of 80 MB that nobody reads": kept(lambda: message(MODEL, _defended_json()), 9),
}


def _bomb(members: int, megabytes: int) -> bytes:
    packed = gzip.compress(bytes(megabytes << 20), 9, mtime=0)
    return (
        head(ANY, f"Content-Length: {members * len(packed)}", "Content-Encoding: gzip")
        + packed * members
    )


def _empty_blocks() -> bytes:
    """A gzip body of six million empty blocks."""
    body = b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + b"\0\0\0\xff\xff" * 6_000_000
    return head(ANY, f"Content-Length: {len(body)}", "Content-Encoding: gzip") + body


def _unfinished() -> bytes:
    """A body that is nearly the largest allowed, and that never ends."""
    pack = zlib.compressobj(9, wbits=31)
    body = pack.compress(bytes(files.MOST_BYTES)) + pack.flush(zlib.Z_SYNC_FLUSH)
    return head(ANY, "Content-Length: 1000000", "Content-Encoding: gzip") + body


BODIES = {
    "gzip: 200 MB": requested(lambda: _bomb(1, 200)),
    "gzip: many members": requested(lambda: _bomb(2000, 1)),
    "gzip: six million empty blocks": requested(_empty_blocks),
    "gzip: bodies that never end": kept(_unfinished, 12),
    "form: zeros": posted_form(lambda: bytes(files.MOST_BYTES)),
    "form: lines that nearly are boundaries": posted_form(lambda: files.filled(b"\r\n--a")),
    "form: 31 bombs": posted_form(*[partial(files.tiff_tiny_strips, 8)] * 31),
}


def _trailers(line: bytes, megabytes: int, start: bytes = b"") -> Iterable[bytes]:
    yield head(ANY, "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n" + start
    block = line * ((1 << 18) // len(line))
    for _ in range(4 * megabytes):
        yield block
    yield b"\r\n\r\n"


def _chunk_extension() -> Iterable[bytes]:
    yield head(ANY, "Transfer-Encoding: chunked") + b"5;"
    for _ in range(800):
        yield b"a" * (1 << 18)
    yield b"\r\nhello\r\n0\r\n\r\n"


def _chunks() -> Iterable[bytes]:
    """Send 2 MB of data in 12 MB of chunks."""
    yield head(ANY, "Transfer-Encoding: chunked")
    for _ in range(48):
        yield files.filled(b"1\r\nx\r\n", 1 << 18)
    yield b"0\r\n\r\n"


def _pipelined(port: int) -> Counter[int]:
    requests = files.filled(b"GET /x HTTP/1.1\r\nHost: a\r\n\r\n", 250_000)
    return at_once(port, [[requests]] * 10)


def _spare(port: int) -> Counter[int]:
    """Take all connections and those for probes, and ask on these again and again."""
    probe = head("/healthz", method="GET")
    silent = [b""] * 2048
    return held(port, silent + [probe] * SPARE_CONNECTIONS, HELD_S, then=probe)


def _changing(port: int) -> Counter[int]:
    """Open connections and close them after half a head."""
    for _ in range(300):
        with connect(port) as connection:
            connection.sendall(b"POST /v1/predict HTTP/1.1\r\nHost:")
    with connect(port) as connection:
        connection.sendall(head("/healthz", method="GET"))
        return Counter((status(connection),))


CONNECTIONS = {
    "trailers: 63 MB of short lines": streamed(lambda: _trailers(b"a:\r\n", 63)),
    "trailers: 300 MB of long lines": streamed(
        lambda: _trailers(b"a:" + b"b" * 998 + b"\r\n", 300)
    ),
    "trailers: one of 127 MB": streamed(lambda: _trailers(b"a", 127, b"a: ")),
    "chunks: an extension of 200 MB": streamed(_chunk_extension),
    "chunks: of 1 byte": streamed(_chunks),
    "head: 16,000 fields": requested(lambda: head(ANY, *["a:"] * 16_000)),
    "pipelined: 10 x 250 KB": Case(lambda: _pipelined),
    "connections: all, and those for probes": Case(
        lambda: _spare, is_repeated=False, serves_honest=False
    ),
    "connections: 300 with half a head": Case(lambda: _changing),
}


def _defended(defense: str, side_px: int = files.LARGE_PX) -> Case:
    return posted(
        lambda: files.saved("JPEG", side_px),
        f"/v1/defend?defense={defense}",
        "--allow-defense",
        defense,
    )


DEFENDED = {
    **{
        f"defend: {name} at 25 megapixels": _defended(name)
        for name in ("fd+rdg", "tvm", "menet", "deflect", "shield", "bitdepth", "jpeg", "crop")
    },
    "defend: tvm at 6 megapixels": _defended("tvm", 2450),
    "defend: menet at 6 megapixels": _defended("menet", 2450),
}


def _nothing(_: int) -> Counter[int]:
    time.sleep(HELD_S)
    return Counter()


CASES: dict[str, Case] = {
    "baseline: nothing hostile": Case(lambda: _nothing, is_repeated=False),
    **CONNECTIONS,
    **BODIES,
    **JSON,
    **DEFENDED,
    **UPSTREAM,
    **KEYS,
    **{name: posted(make) for name, make in IMAGES.items()},
}
"""All cases by name. The first one measures the machine."""
