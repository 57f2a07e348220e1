"""Operations that are read from a file of the user's own, which a parameter names.

The parameter is the path as it was written, so operations compare, hash and print as any other.
What is read belongs to the instance from its construction on: a file that changes later changes
nothing until the operation is made anew.
"""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from defenses.operation import DefenseError, DrawT, StraightThrough

# What a specification, a header and a metric's label can all hold.
_PATH = re.compile(r"[!-'*+\--~]+")
_RULE = (
    "the path of a file in letters, digits and signs of ASCII without spaces, commas and brackets "
    "(link or rename another one)"
)


class FileVersion(NamedTuple):
    """A file as it is now; the key by which what was read of it is kept.

    Attributes:
        path: where it is.
        modified_ns: when it was last written.
        size: in bytes.
    """

    path: Path
    modified_ns: int
    size: int


@dataclass(frozen=True)
class FromFile(StraightThrough[DrawT]):
    """An operation one of whose parameters names a file. Its gradient is passed straight through.

    A subclass reads the file in ``__post_init__`` and keeps what it read outside its fields.
    """

    def _file_version(self, field: str) -> FileVersion:
        """The file that a field names.

        Raises:
            DefenseError: the field is no such path, or there is no file that can be read.
        """
        written = getattr(self, field)
        self._require(isinstance(written, str) and bool(_PATH.fullmatch(written)), field, _RULE)
        try:
            path = Path(written).expanduser()
            state = path.stat()
        except (OSError, RuntimeError) as error:  # the latter: nobody of that name has a home
            why = getattr(error, "strerror", None) or str(error)
            raise self._unreadable(written, why.rstrip(".")) from None
        if not path.is_file():
            raise self._unreadable(written, "it is no file")
        if not os.access(path, os.R_OK):
            raise self._unreadable(written, "permission denied")
        return FileVersion(path.absolute(), state.st_mtime_ns, state.st_size)

    def _unreadable(self, written: str, why: str) -> DefenseError:
        return DefenseError(f"{self.name}: {written} cannot be read: {why}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # Copies and other processes read the file themselves: a session cannot be copied.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))
