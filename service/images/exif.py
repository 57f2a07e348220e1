"""The orientation in an EXIF block, which is the only part of the block that is read."""

import struct

_TAG, _SHORT = 0x112, 3
_BYTE_ORDERS = {b"II*\0": "<", b"MM\0*": ">"}


def orientation(exif: bytes) -> int:
    """Find the orientation, as browsers do.

    Args:
        exif: the block, from its byte order mark on.

    Returns:
        1…8; 1, which is upright, where the block is not readable or has no valid orientation.
    """
    order = _BYTE_ORDERS.get(exif[:4])
    if order is None:
        return 1
    try:
        (start,) = struct.unpack_from(f"{order}I", exif, 4)
        (count,) = struct.unpack_from(f"{order}H", exif, start)
    except struct.error:
        return 1
    entries = exif[start + 2 : start + 2 + 12 * count]
    whole = entries[: len(entries) // 12 * 12]
    for tag, kind, values, value in struct.iter_unpack(f"{order}HHIH2x", whole):
        if tag == _TAG:
            return value if kind == _SHORT and values == 1 and 1 <= value <= 8 else 1
    return 1
