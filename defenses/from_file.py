"""Operations that read a file of the user's, whose path is a parameter.

The parameter is the path as the user wrote it, so these operations compare, hash and print like all
operations. An instance reads its file when it is made. If the file changes later, the instance
keeps what it read, and only a new instance reads the file again.
"""

import os
import re
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NamedTuple

from defenses.operation import DefenseError, DrawT, StraightThrough

# Characters that a specification, a header and the label of a metric can all hold.
_PATH = re.compile(r"[!-'*+\--~]+")
_RULE = (
    "the path of a file in ASCII letters, digits and signs, without spaces, commas or brackets "
    "(rename or link a file that has another name)"
)


class FileVersion(NamedTuple):
    """The key under which the content of a file is cached; it changes when the file does.

    Attributes:
        path: the absolute path.
        modified_ns: the time of the last write.
        size_bytes: the size of the file.
    """

    path: Path
    modified_ns: int
    size_bytes: int


@dataclass(frozen=True)
class FromFile(StraightThrough[DrawT]):
    """An operation with the path of a file as a parameter; its gradient is straight-through.

    A subclass reads the file in ``__post_init__`` and keeps the content outside its fields.
    """

    def _file_version(self, field: str) -> FileVersion:
        """Return the version of the file that a field names.

        Raises:
            DefenseError: the field is not a valid path, or the file cannot be read.
        """
        written = getattr(self, field)
        self._require(isinstance(written, str) and bool(_PATH.fullmatch(written)), field, _RULE)
        try:
            path = Path(written).expanduser()
            state = path.stat()
        except (OSError, RuntimeError) as error:  # RuntimeError: ~name is not a known user
            why = getattr(error, "strerror", None) or str(error)
            raise self._unreadable(written, why.rstrip(".")) from None
        if not path.is_file():
            raise self._unreadable(written, "it is not a regular file")
        if not os.access(path, os.R_OK):
            raise self._unreadable(written, "permission denied")
        version = FileVersion(path.absolute(), state.st_mtime_ns, state.st_size)
        object.__setattr__(self, "_version", version)
        return version

    @property
    def files(self) -> tuple[str, ...]:
        """Return the version of the file that was read; see :class:`Operation`."""
        return (str(tuple(map(str, self.__dict__["_version"]))),)

    @property
    def paths(self) -> tuple[Path, ...]:
        """Return the path of the file; see :class:`Operation`."""
        return (self.__dict__["_version"].path,)

    def _unreadable(self, written: str, why: str) -> DefenseError:
        return DefenseError(f"{self.name}: {written} cannot be read: {why}.")

    def __reduce__(self) -> tuple[Any, ...]:
        # A copy reads the file itself, because a session cannot be copied or sent.
        return type(self), tuple(getattr(self, field.name) for field in fields(self))
