"""GIF: blocks up to the first frame, which becomes an image of its own."""

import re
import struct
from itertools import count

from service.errors import BadImageError
from service.images.containers.container import Container, damaged
from service.images.limits import Limits

_KIND = "GIF"
_MOST_BLOCKS = 65_536
_MOST_JUNK_BYTES = 1_024
_BLOCK = re.compile(rb"[!,;]")
_CONTROL = 0xF9


def walk(body: bytes, limits: Limits) -> Container:
    """Find the first frame and its palette.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    if len(body) < 13:
        raise damaged(_KIND, "its header is cut short")
    width, height, flags = struct.unpack_from("<HHB", body, 6)
    palette_end = 13 + _palette_bytes(flags)
    position, transparent = _find_frame(body, palette_end)
    if len(body) < position + 10:
        raise damaged(_KIND, "it has no image data")
    left, top, across, down, frame_flags = struct.unpack_from("<HHHHB", body, position)
    if not across or not down:
        raise damaged(_KIND, "its first frame is empty")
    # Browsers enlarge the screen to the first frame.
    width, height = max(width, left + across), max(height, top + down)
    limits.check_size(width, height)

    control = b"" if transparent is None else b"!\xf9\4\1\0\0%c\0" % transparent
    screen = struct.pack("<HHBBB", across, down, flags, 0, 0)
    descriptor = struct.pack("<HHHHB", 0, 0, across, down, frame_flags)
    parts = (
        b"GIF89a",
        screen,
        body[13:palette_end],
        control,
        b",",
        descriptor,
        body[position + 9 :],
    )
    return Container(
        kind=_KIND,
        file=b"".join(parts),
        width=width,
        height=height,
        memory_bytes=2 * across * down + 4 * width * height,
        frame=(left, top, across, down),
    )


def _palette_bytes(flags: int) -> int:
    return 3 << (flags & 7) + 1 if flags & 0x80 else 0


def _find_frame(body: bytes, position: int) -> tuple[int, int | None]:
    """Find the first frame's descriptor, and the index of its transparent colour."""
    transparent = None
    blocks = count()
    while (block := _BLOCK.search(body, position, position + _MOST_JUNK_BYTES)) and (
        block[0] != b";"
    ):
        position = block.end()
        if block[0] == b",":
            return position, transparent
        if body[position : position + 2] == b"%c\4" % _CONTROL and len(body) > position + 6:
            transparent = body[position + 5] if body[position + 2] & 1 else None
        position += 1
        while position < len(body) and (size := body[position]):
            position += 1 + size
            if next(blocks) >= _MOST_BLOCKS:
                raise BadImageError(f"This GIF file has more than {_MOST_BLOCKS} blocks.")
        position += 1
        if next(blocks) >= _MOST_BLOCKS:
            raise BadImageError(f"This GIF file has more than {_MOST_BLOCKS} blocks.")
    raise damaged(_KIND, "it has no image data")
