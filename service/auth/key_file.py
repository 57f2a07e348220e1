"""The file of API keys: a line for each, with its name, its SHA-256, and maybe its options.

    # made with: warpguard keys new shop
    shop 7f0c…64 hexadecimal digits… rate=20 burst=100 alarm=concentration

A key is 32 random bytes. Nobody finds it from its digest by trial, however fast a trial is, so the
digest is a plain SHA-256; slow digests are for passwords that people think up.
"""

import hashlib
import os
import re
import secrets
import stat
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

from models import write_atomically
from service.errors import SetupError
from service.signals.names import OFF, SIGNALS, parse_signals

PREFIX = "wg_"
"""The beginning of every key, by which a leaked one is recognised."""

MOST_BYTES = 1 << 20
"""The largest key file: some ten thousand keys."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NAME_RULE = "use letters, digits, dots, dashes or underscores, at most 64"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_HEADING = "# name, SHA-256 of the key, rate= and burst= in images\n"


class KeyFileError(SetupError):
    """The key file cannot be read, or one of its lines is not a key entry.

    The message contains no key.
    """


@dataclass(frozen=True)
class KeyEntry:
    """A line of the file.

    Attributes:
        name: the operator's name for the key.
        digest: the key's SHA-256, hexadecimal.
        rate: images a second, each draw counting as one; None if the line has no rate.
        burst: images at once; None if the line has no burst.
        alarm: which of the server's signals look at its images; None if the line has no alarm.
    """

    name: str
    digest: str
    rate: float | None
    burst: float | None
    alarm: frozenset[str] | None = None


def digest_of(key: str) -> str:
    """The SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def read(path: Path) -> tuple[KeyEntry, ...]:
    """Read the keys of a file.

    Raises:
        KeyFileError: the file cannot be read or parsed; see :func:`parse`.
    """
    return parse(_text(path), str(path))


def parse(text: str, source: str) -> tuple[KeyEntry, ...]:
    """Parse the text of a key file.

    Args:
        text: the lines.
        source: the file's name, for error messages.

    Raises:
        KeyFileError: a line is not a key entry, or there is no key. The message has the line's
            number only: an operator may have put a key in the place of its digest.
    """
    entries: dict[str, KeyEntry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = _words(line)
        if not words:
            continue
        name, digest, *options = words if len(words) > 1 else [*words, ""]
        given = dict(option.partition("=")[::2] for option in options)
        if not _NAME.fullmatch(name):
            problem = f"invalid key name: {_NAME_RULE}"
        elif not _DIGEST.fullmatch(digest):
            problem = "after the name comes the SHA-256 of its key, 64 hexadecimal digits"
        elif not all(each in _OPTIONS and _OPTIONS[each](given[each]) for each in given):
            problem = _OPTIONS_RULE
        elif name in entries or any(digest == entry.digest for entry in entries.values()):
            problem = "an earlier line has this name or this key already"
        else:
            rate, burst = (float(given[o]) if o in given else None for o in ("rate", "burst"))
            alarm = _signals(given["alarm"]) if "alarm" in given else None
            entries[name] = KeyEntry(name, digest, rate, burst, alarm)
            continue
        raise KeyFileError(f"{source}, line {number}: {problem}.")
    if not entries:
        raise KeyFileError(
            f"{source} contains no API keys; every request would be rejected. Create one with "
            f"'warpguard keys new NAME --file {source}'."
        )
    return tuple(entries.values())


def new(name: str, options: str = "") -> tuple[str, str]:
    """Make a key.

    Args:
        name: the operator's name for it.
        options: the words after its digest, ``rate=``, ``burst=`` and ``alarm=``.

    Returns:
        The key itself, which is stored nowhere, and its line for the file.

    Raises:
        KeyFileError: the name or an option is not valid.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"Invalid key name {name!r}: {_NAME_RULE}.")
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {digest_of(key)} {options}".strip()
    parse(line, "The new key")
    return key, line


def append(path: Path, line: str) -> None:
    """Add a line to a file, which is created if need be and always replaced as a whole.

    Raises:
        KeyFileError: the file cannot be read or written, or has a key of that name.
    """
    with _locked(path) as file:
        text = _text(file) if file.exists() else _HEADING
        name = _words(line)[0]
        if any(_words(each)[:1] == [name] for each in text.splitlines()):
            raise KeyFileError(
                f"{file} has a key named {name!r}. Edit its line to change its options, revoke the "
                "key to replace it, or choose another name."
            )
        text += f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"
        parse(text, str(file))
        _replace(file, text)


def remove(path: Path, name: str) -> None:
    """Remove the line of a key from a file, which is replaced as a whole.

    Raises:
        KeyFileError: the file cannot be read or written, does not have the key, or has no other
            one: a server goes on with the keys that it has if its file contains none.
    """
    with _locked(path) as file:
        text = _text(file)
        names = [entry.name for entry in parse(text, str(file))]
        if name not in names:
            (nearest,) = get_close_matches(name, names, n=1, cutoff=0.0)
            raise KeyFileError(
                f"{path} has no key named {name!r}; the nearest name is {nearest!r}. "
                f"'warpguard keys list --file {path}' shows all names."
            )
        if len(names) == 1:
            raise KeyFileError(
                f"{name!r} is the only key of {path}, and servers do not accept a file without "
                f"keys. First make another key with 'warpguard keys new NAME --file {path}'."
            )
        kept = (line for line in text.splitlines(keepends=True) if _words(line)[:1] != [name])
        _replace(file, "".join(kept))


@contextmanager
def _locked(path: Path) -> Iterator[Path]:
    """Let one process at a time change a file; gives the path of the file itself.

    The folder is locked, because the file is replaced. Windows has no such lock.

    Raises:
        KeyFileError: the operating system refused something.
    """
    path = path.resolve()
    folder = -1
    try:
        if sys.platform != "win32":
            import fcntl

            folder = os.open(path.parent, os.O_RDONLY)
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield path
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from None
    finally:
        if folder >= 0:
            os.close(folder)


def _replace(path: Path, text: str) -> None:
    """Replace a file; a new one can be read and written by its owner only.

    Raises:
        KeyFileError: the file would have another owner.
        OSError: it cannot be written.
    """
    if not path.exists():
        write_atomically(path, text.encode(), mode=0o600, parents=False)
        return
    before = path.stat()
    owner = (before.st_uid, before.st_gid)
    try:
        write_atomically(
            path, text.encode(), mode=stat.S_IMODE(before.st_mode), owner=owner, parents=False
        )
    except PermissionError as error:
        raise KeyFileError(
            f"{path} cannot be replaced by a file of the same owner, user {owner[0]} and group "
            f"{owner[1]}: {error.strerror}. Run the command as that user or as root."
        ) from None


def _text(path: Path) -> str:
    try:
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise KeyFileError(f"{path} cannot be read: it is not a regular file.")
            content = file.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise KeyFileError(
                f"{path} cannot be read: it has more than {MOST_BYTES} bytes, the largest size."
            )
        return content.decode("utf-8")
    except (OSError, UnicodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not a UTF-8 text file"
        raise KeyFileError(f"{path} cannot be read: {reason}.") from None


def _open_at_once(path: str, flags: int) -> int:
    """Open a file; a named pipe would otherwise wait until somebody writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _words(line: str) -> list[str]:
    """The words of a line, without its comment."""
    return line.partition("#")[0].split()


def _is_positive(number: str) -> bool:
    return _NUMBER.fullmatch(number) is not None and float(number) > 0


def _signals(names: str) -> frozenset[str]:
    """The signals that the value of ``alarm=`` names.

    Raises:
        ValueError: it names something else.
    """
    return frozenset(parse_signals(tuple(names.split(","))))


def _are_signals(names: str) -> bool:
    try:
        _signals(names)
    except ValueError:
        return False
    return True


_OPTIONS = {"rate": _is_positive, "burst": _is_positive, "alarm": _are_signals}
_OPTIONS_RULE = (
    "after the digest come rate= and burst=, numbers above 0, and alarm=, which is "
    f"{OFF}, or {' or '.join(SIGNALS)}, or several with commas"
)
