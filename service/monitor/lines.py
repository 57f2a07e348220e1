"""The new lines of a file that grows, and that may be rotated."""

import os
import stat
from io import BufferedReader
from pathlib import Path

from service.errors import SetupError

MOST_BYTES = 16 * 1024 * 1024
"""The most bytes that are read at once; of a longer file, the end is read first."""
_LONGEST_BYTES = 1024 * 1024
"""A longer line is not an event, and is left out."""


class StreamError(SetupError):
    """The file cannot be read."""


class Lines:
    """Reads a file's lines, each once."""

    def __init__(self, path: Path) -> None:
        """Open a file.

        Raises:
            StreamError: it cannot be read, or is not a regular file.
        """
        self.path = path
        self._rest = b""
        self._file = self._open()
        start = max(0, os.fstat(self._file.fileno()).st_size - MOST_BYTES)
        self._file.seek(start)
        if start:
            self._file.readline(_LONGEST_BYTES)  # the rest of a line

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def read(self) -> list[bytes]:
        """Return the lines that are new, also those of a file that has taken this one's place.

        Raises:
            StreamError: the file is not there any more; it may come again.
        """
        lines = self._new_lines()
        try:
            now, opened = self.path.stat(), os.fstat(self._file.fileno())
            if (now.st_dev, now.st_ino) != (opened.st_dev, opened.st_ino):
                other = self._open()
                self._file.close()
                self._file, self._rest = other, b""
                lines += self._new_lines()
            elif now.st_size < self._file.tell():  # it was emptied
                self._file.seek(0)
                self._rest = b""
                lines += self._new_lines()
        except (OSError, StreamError) as error:
            if not lines:
                raise self._unreadable(error) from None
        return lines

    def _open(self) -> BufferedReader:
        try:
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise StreamError(f"{self.path} is not a regular file.")
            return self.path.open("rb")
        except OSError as error:
            raise self._unreadable(error) from None

    def _unreadable(self, error: OSError | StreamError) -> StreamError:
        if isinstance(error, StreamError):
            return error
        return StreamError(f"{self.path} cannot be read: {error.strerror}.")

    def _new_lines(self) -> list[bytes]:
        *lines, self._rest = (self._rest + self._file.read(MOST_BYTES)).split(b"\n")
        self._rest = self._rest[-_LONGEST_BYTES:]
        return [line for line in lines if line and len(line) < _LONGEST_BYTES]
