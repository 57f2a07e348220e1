"""JPEG: segments up to the first scan, then markers between the scans."""

import re
import struct
from itertools import count

from service.errors import BadImageError
from service.images.containers.container import Container, damaged, not_read, usable
from service.images.exif import orientation
from service.images.limits import MOST_SCANS, Limits

_KIND = "JPEG"
_MOST_SEGMENTS = 10_000
_MOST_LATER_SEGMENTS = 1_000
_MOST_FILL_BYTES = 65_536
_MOST_TABLE_BYTES = 65_536  # four quantisation and eight Huffman tables take 3 KB
_PLAIN_SCANS = 16  # encoders make ten

_STEP_BYTES = 1 << 20

_SOI, _EOI, _SOS = b"\xff\xd8", 0xD9, 0xDA
_STANDALONE = frozenset((0x00, 0x01, *range(0xD0, 0xD9)))
_TABLES = frozenset((0xC4, 0xCC, 0xDB, 0xDD))
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_READ_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC9, 0xCA}
_PLAIN_FRAMES = {0xC0, 0xC1, 0xC2}
_PROGRESSIVE_FRAMES = {0xC2, 0xCA}
_APP0, _APP1, _APP2, _APP14 = 0xE0, 0xE1, 0xE2, 0xEE
_JPEG_LS, _HIERARCHICAL = 0xF7, 0xDE

_NO_FILL = re.compile(rb"[^\xff]")
_MARKER_IN_SCAN = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")


def walk(body: bytes, limits: Limits) -> Container:
    """Find the segments that make pixels.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    kept: list[bytes | memoryview] = [_SOI]
    profile: dict[int, bytes] = {}
    frame, frame_kind, turned, table_bytes = b"", 0, 0, 0
    position, fill_bytes = 2, 0
    for segments in count():
        position, filled = _next_marker(body, position)
        fill_bytes += filled
        if segments == _MOST_SEGMENTS or fill_bytes > _MOST_FILL_BYTES:
            raise BadImageError(
                f"This JPEG file has more than {_MOST_SEGMENTS} segments, or more than "
                f"{_MOST_FILL_BYTES} fill bytes."
            )
        kind = body[position - 1] if position <= len(body) else _EOI
        if kind in _STANDALONE:
            continue
        if kind == _EOI:
            raise damaged(_KIND, "it has no image data")
        size = int.from_bytes(body[position : position + 2])
        if kind == _SOS:
            break
        segment, position = body[position - 2 : position + size], position + max(2, size)
        content = segment[4:]
        if kind in _TABLES:
            table_bytes += size
            if table_bytes > _MOST_TABLE_BYTES:
                raise BadImageError(
                    f"This JPEG file has more than {_MOST_TABLE_BYTES} bytes of tables."
                )
            kept.append(segment)
        elif kind in _FRAMES:
            if frame:
                raise damaged(_KIND, "it has two frame headers")
            frame, frame_kind = content, kind
            kept.append(segment)
        elif kind == _APP0 and content.startswith(b"JFIF\0") and len(content) >= 14:
            kept.append(b"\xff\xe0\0\x10%s\0\0" % content[:12])  # without its thumbnail
        elif kind == _APP14 and content.startswith(b"Adobe") and len(content) >= 12:
            kept.append(b"\xff\xee\0\x0e%s" % content[:12])
        elif kind == _APP1 and content.startswith(b"Exif\0") and not turned:
            turned = orientation(content[6:])
        elif kind == _APP2 and content.startswith(b"ICC_PROFILE\0") and len(content) > 14:
            profile[content[12]] = content[13:]
        elif kind == _JPEG_LS:
            raise not_read(_KIND, "It is coded as JPEG-LS.")
        elif kind == _HIERARCHICAL:
            raise not_read(_KIND, "It is hierarchical.")
    width, height, channels = _read_frame(frame, frame_kind)
    limits.check_size(width, height)
    has_scans = frame_kind in _PROGRESSIVE_FRAMES or body[position + 2 : position + 3] != frame[5:6]
    if has_scans:
        scans, end = _count_scans(body, position + max(2, size))
    else:
        scans, end = 1, body.rfind(b"\xff\xd9", position) + 2
    is_complete = end > position
    kept.append(memoryview(body)[position - 2 : end if is_complete else None])

    pixels = width * height
    # For several scans, all coefficients are held, of two bytes.
    coefficients = 2 * pixels * channels if has_scans else 0
    plain = frame_kind in _PLAIN_FRAMES and scans <= _PLAIN_SCANS and is_complete
    return Container(
        kind=_KIND,
        file=b"".join(kept),
        width=width,
        height=height,
        memory_bytes=coefficients + 4 * pixels * (1 if is_complete else 3),
        full_size_bytes=4 * pixels if is_complete else 0,
        is_plain=plain,
        is_complete=is_complete,
        orientation=turned or 1,
        icc=_join(profile),
    )


def _next_marker(body: bytes, position: int) -> tuple[int, int]:
    """Find the end of the next marker, and count the fill bytes before it."""
    start = body[position : position + 2]
    if start[:1] == b"\xff" and start != b"\xff\xff":
        return position + 2, 0
    fill = body.find(b"\xff", position)
    marker = _NO_FILL.search(body, fill, fill + _MOST_FILL_BYTES + 2) if fill >= 0 else None
    end = marker.end() if marker else len(body) + 1
    return end, max(0, end - fill - 2)


def _read_frame(frame: bytes, kind: int) -> tuple[int, int, int]:
    """Read the frame header: width, height and number of channels."""
    if len(frame) < 6:
        raise damaged(_KIND, "it has no frame header")
    if kind not in _READ_FRAMES:
        raise not_read(_KIND, "It is coded in a way that only special programs use.")
    bits, height, width, channels = struct.unpack_from(">BHHB", frame)
    if bits != 8:
        raise not_read(_KIND, f"It has {bits} bits a sample: send 8.")
    if channels not in (1, 3, 4):
        raise not_read(_KIND, f"It has {channels} channels: send 1, 3 or 4.")
    if not height:
        raise not_read(_KIND, "Its header has no height.")
    if not width:
        raise damaged(_KIND, "it has no width")
    return width, height, channels


def _count_scans(body: bytes, position: int) -> tuple[int, int]:
    """Count the scans, and find the end of the image; 0 where it has no end."""
    scans, segments = 1, 0
    while position < len(body):
        # In steps, between which other threads can run.
        marker = _MARKER_IN_SCAN.search(body, position, position + _STEP_BYTES + 1)
        if marker is None:
            position += _STEP_BYTES
            continue
        position = marker.end()
        kind = body[position - 1]
        if kind == _EOI:
            return scans, position
        segments += 1
        scans += kind == _SOS
        if segments > _MOST_LATER_SEGMENTS:
            raise BadImageError(
                f"This JPEG file has more than {_MOST_LATER_SEGMENTS} segments between its scans."
            )
        if scans > MOST_SCANS:
            raise BadImageError(f"This JPEG file has more than {MOST_SCANS} scans.")
        if kind not in _STANDALONE:
            position += max(2, int.from_bytes(body[position : position + 2]))
    return scans, 0


def _join(profile: dict[int, bytes]) -> bytes | None:
    """Join the parts of an ICC profile; None where one is missing."""
    parts = [profile.get(number, b"") for number in range(1, len(profile) + 1)]
    if not all(parts) or any(part[0] != len(parts) for part in parts):
        return None
    return usable(b"".join(part[1:] for part in parts))
