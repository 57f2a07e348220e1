"""WebP: chunks up to the first frame, which becomes a file of its own."""

import struct
from collections.abc import Iterator
from itertools import count

from service.errors import BadImageError
from service.images.containers.container import Container, damaged, usable
from service.images.exif import orientation
from service.images.limits import Limits

_KIND = "WEBP"
_MOST_CHUNKS = 65_536
_BYTES_PER_PIXEL = 20  # libwebp's decoder of animations, which Pillow uses, holds two canvases
_READ = frozenset((b"VP8X", b"ALPH", b"VP8 ", b"VP8L", b"EXIF", b"ICCP"))

Chunks = dict[bytes, memoryview]


def walk(body: bytes, limits: Limits) -> Container:
    """Find the chunks that make pixels.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    chunks: Chunks = {}
    view = memoryview(body)
    frame_box: tuple[int, int] | None = None
    for name, start, end in _chunks(body, 12, len(body)):
        if name in _READ:
            chunks.setdefault(name, view[start:end])
        elif name == b"ANMF" and frame_box is None:
            left, top = (int.from_bytes(body[start + i : start + i + 3], "little") for i in (0, 3))
            frame_box = 2 * left, 2 * top
            for inner, first, last in _chunks(body, start + 16, end):
                if inner in _READ:
                    chunks.setdefault(inner, view[first:last])
    image = next((chunks[name] for name in (b"VP8 ", b"VP8L") if name in chunks), None)
    if image is None:
        raise damaged(_KIND, "it has no image data")
    is_lossy = b"VP8 " in chunks
    across, down = _lossy_size(image) if is_lossy else _lossless_size(image)

    width, height = _canvas(chunks, across, down)
    limits.check_size(width, height)
    parts: list[tuple[bytes, bytes | memoryview]] = [(b"VP8 " if is_lossy else b"VP8L", image)]
    if is_lossy and b"ALPH" in chunks:
        size = b"".join((side - 1).to_bytes(3, "little") for side in (across, down))
        parts = [(b"VP8X", b"\x10\0\0\0" + size), (b"ALPH", chunks[b"ALPH"]), *parts]
    file: list[bytes | memoryview] = []
    for name, data in parts:
        file += (name, struct.pack("<I", len(data)), data, bytes(len(data) & 1))
    head = b"RIFF" + struct.pack("<I", 4 + sum(map(len, file))) + b"WEBP"
    frame = (*frame_box, across, down) if frame_box else None
    if frame_box and (frame_box[0] + across > width or frame_box[1] + down > height):
        raise damaged(_KIND, "its first frame lies outside the image")
    if frame_box is None and (width, height) != (across, down):
        raise damaged(_KIND, "its header and its image data differ in size")
    return Container(
        kind=_KIND,
        file=b"".join((head, *file)),
        width=width,
        height=height,
        memory_bytes=_BYTES_PER_PIXEL * across * down + (4 * width * height if frame else 0),
        is_plain=True,
        orientation=orientation(bytes(chunks.get(b"EXIF", b"")).removeprefix(b"Exif\0\0")),
        icc=usable(bytes(chunks.get(b"ICCP", b""))),
        frame=frame,
    )


def _chunks(body: bytes, position: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Give each chunk's name, and where its content starts and ends."""
    for chunks in count():
        if position + 8 > end:
            return
        if chunks == _MOST_CHUNKS:
            raise BadImageError(f"This WEBP file has more than {_MOST_CHUNKS} chunks.")
        name, size = struct.unpack_from("<4sI", body, position)
        yield name, position + 8, min(position + 8 + size, end)
        position += 8 + size + (size & 1)


def _lossy_size(image: memoryview) -> tuple[int, int]:
    if len(image) < 10 or bytes(image[3:6]) != b"\x9d\x01\x2a":
        raise damaged(_KIND, "its image data has no header")
    width, height = struct.unpack_from("<HH", image, 6)
    return width & 0x3FFF, height & 0x3FFF  # the upper bits ask viewers to scale


def _lossless_size(image: memoryview) -> tuple[int, int]:
    if len(image) < 5 or image[0] != 0x2F:
        raise damaged(_KIND, "its image data has no header")
    (fields,) = struct.unpack_from("<I", image, 1)
    return (fields & 0x3FFF) + 1, (fields >> 14 & 0x3FFF) + 1


def _canvas(chunks: Chunks, width: int, height: int) -> tuple[int, int]:
    """Read the canvas from the extended header; without one, it is the image."""
    header = chunks.get(b"VP8X")
    if header is None:
        return width, height
    if len(header) < 10:
        raise damaged(_KIND, "its header is cut short")
    width, height = (int.from_bytes(header[i : i + 3], "little") for i in (4, 7))
    return width + 1, height + 1
