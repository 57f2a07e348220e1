"""PNG: chunks up to the image data, which become one chunk."""

import struct
import zlib
from itertools import count

from service.errors import BadImageError
from service.images.containers.container import MOST_PROFILE_BYTES, Container, damaged, not_read
from service.images.exif import orientation
from service.images.limits import Limits

SIGNATURE = b"\x89PNG\r\n\x1a\n"

_KIND = "PNG"
_MOST_CHUNKS = 65_536
_END = b"\0\0\0\0IEND\xaeB`\x82"
_GREY, _RGB, _PALETTE, _GREY_ALPHA, _RGB_ALPHA = 0, 2, 3, 4, 6
_BITS = {
    _GREY: (1, 2, 4, 8, 16),
    _RGB: (8, 16),
    _PALETTE: (1, 2, 4, 8),
    _GREY_ALPHA: (8, 16),
    _RGB_ALPHA: (8, 16),
}
_AS_PIXELS = (b"IHDR", b"PLTE", b"tRNS")
_AS_METADATA = (b"iCCP", b"gAMA", b"sRGB", b"cICP", b"eXIf")


def walk(body: bytes, limits: Limits) -> Container:
    """Find the chunks that make pixels.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    found, data = _collect(body)
    if b"IHDR" not in found:
        raise damaged(_KIND, "it does not begin with its header")
    if len(found[b"IHDR"]) != 13:
        raise damaged(_KIND, "its header has a wrong length")
    width, height, bits, colour, *methods, interlace = struct.unpack(">IIBBBBB", found[b"IHDR"])
    if not width or not height or bits not in _BITS.get(colour, ()):
        raise damaged(_KIND, "its header has impossible values")
    limits.check_size(width, height)
    if methods != [0, 0] or interlace > 1:
        raise not_read(_KIND, "It is compressed in a way that the standard does not have.")
    if not data:
        raise damaged(_KIND, "it has no image data")
    if colour == _PALETTE and not found.get(b"PLTE"):
        raise damaged(_KIND, "it has no palette")

    chunks = [(b"IHDR", found[b"IHDR"])]
    transparent = None
    alpha = found.get(b"tRNS", b"")
    if colour == _PALETTE:
        chunks.append((b"PLTE", found[b"PLTE"]))
        alpha = alpha[: len(found[b"PLTE"]) // 3]  # Pillow takes no more than there are colours
        chunks += [(b"tRNS", alpha)] if alpha else []
    elif colour in (_GREY, _RGB) and len(alpha) == (2 if colour == _GREY else 6):
        most = (1 << bits) - 1
        transparent = tuple(
            sample & most for sample in struct.unpack(f">{len(alpha) // 2}H", alpha)
        )

    file: list[bytes | memoryview] = [SIGNATURE]
    for name, content in chunks:
        file += (_head(name, len(content)), content, zlib.crc32(name + content).to_bytes(4))
    # Pillow does not compare the checksum of image data, and nor do browsers.
    file += (_head(b"IDAT", sum(map(len, data))), *data, bytes(4), _END)
    is_wide = bits == 16 and len(transparent or ()) == 3
    describes_colours = found.keys() & {b"iCCP", b"sRGB", b"cICP"}
    return Container(
        kind=_KIND,
        file=b"".join(file),
        width=width,
        height=height,
        memory_bytes=width * height * (12 if is_wide else 4),
        is_plain=True,
        orientation=orientation(found.get(b"eXIf", b"")),
        icc=_profile(found.get(b"iCCP", b"")),
        gamma=None if describes_colours else _gamma(found.get(b"gAMA", b"")),
        bits=bits,
        transparent=transparent,
    )


def _head(name: bytes, size: int) -> bytes:
    return struct.pack(">I4s", size, name)


def _collect(body: bytes) -> tuple[dict[bytes, bytes], list[memoryview]]:
    """Collect the first chunk of each name up to the image data, and the parts of the data."""
    found: dict[bytes, bytes] = {}
    data: list[memoryview] = []
    view = memoryview(body)
    position = len(SIGNATURE)
    for chunks in count():
        if position + 8 > len(body):
            break
        size, name = struct.unpack_from(">I4s", body, position)
        start, end = position + 8, position + 8 + size
        position = end + 4
        if name == b"IDAT":
            data.append(view[start:end])
        elif data:  # browsers read nothing that follows the image data
            break
        elif name in _AS_PIXELS or name in _AS_METADATA:
            content = body[start:end]
            if zlib.crc32(name + content) == int.from_bytes(body[end:position]):
                found.setdefault(name, content)
            elif name in _AS_PIXELS:
                raise damaged(_KIND, f"the checksum of its chunk {name.decode()} is wrong")
        elif not found:
            raise damaged(_KIND, "it does not begin with its header")
        elif name == b"CgBI":
            raise not_read(_KIND, "It is in Apple's private form: convert it back.")
        elif not name.isalpha():
            raise damaged(_KIND, "one of its chunks has an impossible name")
        elif name[:1].isupper():
            raise damaged(_KIND, "it has no image data")
        if chunks == _MOST_CHUNKS:
            raise BadImageError(f"This PNG file has more than {_MOST_CHUNKS} chunks.")
    return found, data


def _profile(chunk: bytes) -> bytes | None:
    """Inflate an ICC profile; None where it is not readable."""
    name, _, rest = chunk.partition(b"\0")
    if not name or rest[:1] != b"\0":
        return None
    inflate = zlib.decompressobj()
    try:
        profile = inflate.decompress(rest[1:], MOST_PROFILE_BYTES)
    except zlib.error:
        return None
    return profile if inflate.eof else None


def _gamma(chunk: bytes) -> float | None:
    """Read the exponent; None where it is not one, or near to that of sRGB."""
    gamma = int.from_bytes(chunk) / 100_000 if len(chunk) == 4 else 0.0
    is_other = 0.01 < gamma < 10 and not 0.43 < gamma < 0.48  # 1 / 2.2 stands for sRGB
    return gamma if is_other else None
