"""AVIF: the boxes of the file, where metadata is made unreadable in its place."""

import re
import struct
from collections.abc import Iterator
from itertools import count

from service.errors import BadImageError
from service.images.containers.container import Container, damaged, not_read
from service.images.limits import Limits

_KIND = "AVIF"
_MOST_BOXES = 1_000
_MOST_META_BYTES = 4 << 20
_BYTES_PER_PIXEL = 20
_SIZE = re.compile(rb"ispe\0{4}(.{4})(.{4})", re.DOTALL)
# An item's entry: version 2 or 3, flags, its number of two or four bytes, protection, type.
_METADATA_ITEM = re.compile(rb"(infe(?:\x02.{3}.{2}|\x03.{3}.{4}).{2})(?:Exif|mime)", re.DOTALL)


def matches(head: bytes) -> bool:
    """Whether a file begins as AVIF."""
    size = int.from_bytes(head[:4])
    brands = head[8:12] + head[16:size]
    return head[4:8] == b"ftyp" and (b"avif" in brands or b"avis" in brands)


def walk(body: bytes, limits: Limits) -> Container:
    """Find the box that describes the image, and the image's size.

    Orientation is not read here, because libavif reports it.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    meta = next(((first, last) for name, first, last in _boxes(body) if name == b"meta"), None)
    if meta is None:
        raise damaged(_KIND, "it has no description of its image")
    start, end = meta
    description = body[start:end]
    if len(description) > _MOST_META_BYTES:
        raise BadImageError(
            f"The metadata of this AVIF file has more than {_MOST_META_BYTES} bytes."
        )
    if max(map(description.count, (b"ispe", b"infe"))) > _MOST_BOXES:
        raise BadImageError(f"This AVIF file describes more than {_MOST_BOXES} images.")
    sizes = [
        (int.from_bytes(width), int.from_bytes(height))
        for width, height in _SIZE.findall(description)
    ]
    if not sizes:
        raise not_read(_KIND, "It does not declare the size of its image.")
    width, height = max(sizes, key=lambda size: size[0] * size[1])
    if not width or not height:
        raise damaged(_KIND, "it has no pixels")
    limits.check_size(width, height)
    blanked = _METADATA_ITEM.sub(rb"\1skip", description)
    return Container(
        kind=_KIND,
        file=body if blanked == description else b"".join((body[:start], blanked, body[end:])),
        width=width,
        height=height,
        memory_bytes=_BYTES_PER_PIXEL * width * height,
    )


def _boxes(body: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Give each outer box's name, and where its content starts and ends."""
    position = 0
    for boxes in count():
        if position + 8 > len(body):
            return
        if boxes == _MOST_BOXES:
            raise BadImageError(f"This AVIF file has more than {_MOST_BOXES} boxes.")
        size, name = struct.unpack_from(">I4s", body, position)
        start = position + 8
        if size == 1:
            size, start = int.from_bytes(body[start : start + 8]), start + 8
        end = len(body) if size == 0 else position + size
        if end < start:
            raise damaged(_KIND, "one of its boxes has an impossible length")
        yield name, start, min(end, len(body))
        position = end
