"""Files that are written whole or not at all, and folders in which one process works."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from harness.errors import RunError
from models import write_atomically


def write(path: Path, content: bytes) -> None:
    """Write a file and make its folder if it is missing.

    Raises:
        RunError: the file cannot be written. An existing one is unchanged.
    """
    try:
        write_atomically(path, content)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}.") from None


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Make a folder if it is missing, and keep every other process out of it.

    Raises:
        RunError: another process works in the folder, or it cannot be made or locked.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise RunError(
            f"Another process works in {folder}. Wait until it has ended, or use another folder."
        ) from None
    except (OSError, NotImplementedError) as error:  # some file systems have no locks
        raise RunError(f"{folder} cannot hold a run: {error}.") from None
    try:
        yield
    finally:
        lock.release()
