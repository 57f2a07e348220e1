"""Files that are written whole or not at all."""

from pathlib import Path

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
