"""What this process asks of the operating system: memory that stays, and enough open files."""

import ctypes
import logging
import sys
from contextlib import suppress

_M_TRIM_THRESHOLD = -1
_M_MMAP_THRESHOLD = -3
_KEPT_BYTES = 64 * 1024 * 1024
_MAPPED_BYTES = 4 * 1024 * 1024  # large bodies and answers would leave holes in the heap
_FILES_BESIDE_CONNECTIONS = 256

_log = logging.getLogger(__name__)


def tune_malloc(kept_bytes: int = _KEPT_BYTES) -> bool:
    """Make glibc keep freed blocks of images' size instead of returning them to the system.

    An image's arrays have 0.3 to 1 MB each. By default glibc maps each new array from the
    system, and the page faults cost more than the defence itself. See mallopt(3).

    Args:
        kept_bytes: how much freed memory is kept; blocks of half that size, or of 4 MB, are
            returned at once.

    Returns:
        Whether it was done; False if the C library is not glibc.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except AttributeError:  # musl has no mallopt
        return False
    return bool(
        mallopt(_M_MMAP_THRESHOLD, min(kept_bytes // 2, _MAPPED_BYTES))
        and mallopt(_M_TRIM_THRESHOLD, kept_bytes)
    )


def release_memory() -> None:
    """Give freed memory back to the system, where the C library is glibc. See malloc_trim(3)."""
    if sys.platform.startswith("linux"):
        with suppress(AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def raise_open_file_limit(connections: int) -> None:
    """Raise this process's limit of open files for so many connections, as far as it may.

    Many systems start a process with a soft limit of 1,024 because of select(2), and with a far
    higher hard limit. See getrlimit(2).
    """
    if sys.platform == "win32":
        return
    import resource

    wanted = connections + _FILES_BESIDE_CONNECTIONS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < wanted:
        _log.warning(
            "%d connections need %d open files, and this process may have %d: "
            "raise the limit (ulimit -n), or lower --max-connections",
            connections,
            wanted,
            hard,
        )
        wanted = hard
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
