"""BMP: the header, the palette, and rows that may be run-length coded."""

import struct

from service.images.containers.container import Container, damaged, not_read
from service.images.limits import Limits

_KIND = "BMP"
_RAW, _RLE8, _RLE4, _BITFIELDS = range(4)
_OS2_HEADER, _HEADERS = 12, (40, 52, 56, 64, 108, 124)
_OS2_2_HEADER = 64
_BITS = (1, 4, 8, 16, 24, 32)
_MOST_COLOURS = 256


def walk(body: bytes, limits: Limits) -> Container:
    """Read the header.

    Raises:
        ServiceError: see :func:`service.images.containers.walk`.
    """
    if len(body) < 26:
        raise damaged(_KIND, "its header is cut short")
    (header,) = struct.unpack_from("<I", body, 14)
    if header == _OS2_HEADER:
        width, height, _, bits = struct.unpack_from("<HHHH", body, 18)
        compression, colours = _RAW, 0
    elif header in _HEADERS:
        if len(body) < 54:
            raise damaged(_KIND, "its header is cut short")
        width, height, _, bits, compression = struct.unpack_from("<iiHHI", body, 18)
        (colours,) = struct.unpack_from("<I", body, 46)
    else:
        raise not_read(_KIND, f"Its header has {header} bytes.")
    height = abs(height)
    if width <= 0 or not height:
        raise damaged(_KIND, "its header has impossible sides")
    limits.check_size(width, height)
    if bits not in _BITS:
        raise not_read(_KIND, f"It has {bits} bits a pixel.")
    if colours > _MOST_COLOURS and bits <= 8:
        raise damaged(_KIND, f"its palette has more than {_MOST_COLOURS} colours")
    run_length = {_RLE8: 8, _RLE4: 4}.get(compression, 0)
    if compression > _BITFIELDS or (header == _OS2_2_HEADER and compression == _BITFIELDS):
        raise not_read(_KIND, "Its pixels are compressed in a way that few programs use.")
    if run_length and run_length != bits:
        raise damaged(_KIND, "its compression does not match its bits a pixel")
    return Container(
        kind=_KIND,
        file=body,
        width=width,
        height=height,
        memory_bytes=(6 if run_length else 4) * width * height,
        is_plain=not run_length,
        run_length=run_length,
    )
