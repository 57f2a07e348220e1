"""Write a file so that a reader sees the old content or the new content, never a part of it."""

import os
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO

TEMPORARY_SUFFIX = ".tmp"
"""The end of a temporary file's name. A killed writer leaves such a file behind."""


def write_atomically(
    path: Path,
    data: bytes | Callable[[IO[bytes]], None],
    *,
    mode: int = 0o644,
    owner: tuple[int, int] | None = None,
    parents: bool = True,
) -> None:
    """Write a file whole or not at all. Once this returns, the file survives a power cut.

    Args:
        path: the file; an existing one is replaced.
        data: the content, or a function that writes the content to a file object.
        mode: the permissions. By default every user may read the file, because a service may run
            as a different user from the one who wrote it.
        owner: the user and the group of the file, by number; by default those of this process.
        parents: make the folder if it is missing.

    Raises:
        OSError: the file cannot be written. An existing one is unchanged.
    """
    if parents:
        path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(TEMPORARY_SUFFIX, ".", path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            if callable(data):
                data(file)
            else:
                file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if owner is not None and sys.platform != "win32":
            os.chown(temporary, *owner)
        temporary.chmod(mode)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power cut."""
    if os.name == "posix":  # elsewhere a folder cannot be opened
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
