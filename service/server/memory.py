"""Keeping freed memory for the next image."""

import ctypes
import sys

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 64 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks of images' size instead of giving them back to the system.

    An image's arrays have 0.3 to 1 MB each. By default they are mapped anew each time, and the page
    faults cost more than the defence itself. See mallopt(3).

    Returns:
        Whether the C library is glibc, so that it could be done.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has none
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, _KEPT_BYTES // 2) and mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES)
    )
