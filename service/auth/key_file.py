"""The file of API keys: a line for each, with its name, its SHA-256, and maybe its rate.

    # made with: warpguard keys new shop
    shop 7f0c…64 hexadecimal digits… rate=20 burst=100

A key is 32 random bytes. Nobody finds it from its digest by trying, however fast trying is, so the
digest is a plain SHA-256; slow ones are for passwords that people think up.
"""

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

from models import write_atomically
from service.errors import SetupError

PREFIX = "wg_"
"""What every key begins with, so that one is recognised where it should not be."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_OF_NAMES = "a name has letters, digits, dots, dashes and underscores, 64 at most"
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NUMBER = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_HEADING = "# name, SHA-256 of the key, rate= and burst= in images\n"


class KeyFileError(SetupError):
    """The file of keys cannot be read, or has a line that is none. The message holds no key."""


@dataclass(frozen=True)
class Entry:
    """A line.

    Attributes:
        name: what the operator calls the key.
        digest: the key's SHA-256, hexadecimal.
        rate: images a second, each draw counting as one; None if the line does not say.
        burst: images at once; None likewise.
    """

    name: str
    digest: str
    rate: float | None
    burst: float | None


def digest_of(key: str) -> str:
    """The SHA-256 of a key, hexadecimal."""
    return hashlib.sha256(key.encode("utf-8", "replace")).hexdigest()


def read(path: Path) -> tuple[Entry, ...]:
    """The keys of a file.

    Raises:
        KeyFileError: it cannot be read, or :func:`parse` it.
    """
    return parse(_text(path), str(path))


def parse(text: str, source: str) -> tuple[Entry, ...]:
    """The keys of a file's text.

    Raises:
        KeyFileError: a line is none, or there is none. A line is named by its number alone: who
            has put a key in the place of its digest does not find it in the log.
    """
    entries: dict[str, Entry] = {}
    for number, line in enumerate(text.splitlines(), 1):
        words = line.partition("#")[0].split()
        if not words:
            continue
        name, digest, *options = words if len(words) > 1 else [*words, ""]
        given = dict(option.partition("=")[::2] for option in options)
        if not _NAME.fullmatch(name):
            problem = _OF_NAMES
        elif not _DIGEST.fullmatch(digest):
            problem = "after the name comes the SHA-256 of its key, 64 hexadecimal digits"
        elif not given.keys() <= {"rate", "burst"} or not all(map(_is_positive, given.values())):
            problem = "after the digest come rate= and burst=, numbers above 0"
        elif name in entries or any(digest == entry.digest for entry in entries.values()):
            problem = "this name or this key is there already"
        else:
            rate, burst = (float(given[o]) if o in given else None for o in ("rate", "burst"))
            entries[name] = Entry(name, digest, rate, burst)
            continue
        raise KeyFileError(f"{source}, line {number}: {problem}.")
    if not entries:
        raise KeyFileError(f"{source} has no key, so nobody could ask for anything.")
    return tuple(entries.values())


def new(name: str, options: str = "") -> tuple[str, str]:
    """Make a key.

    Args:
        name: what to call it.
        options: what stands after its digest.

    Returns:
        The key itself, which is kept nowhere, and its line.

    Raises:
        KeyFileError: the name or an option is none.
    """
    if not _NAME.fullmatch(name):
        raise KeyFileError(f"{name!r} is no name: {_OF_NAMES}.")
    key = PREFIX + secrets.token_urlsafe(32)
    line = f"{name} {digest_of(key)} {options}".strip()
    parse(line, "The new key")
    return key, line


def append(path: Path, line: str) -> None:
    """Add a line to a file, which is made if there is none, and replaced whole otherwise.

    Raises:
        KeyFileError: the file cannot be read or written, or has a key of that name.
    """
    path = path.resolve()
    text, mode = _HEADING, 0o600
    try:
        if path.exists():
            text, mode = _text(path), path.stat().st_mode & 0o777
        text += f"{'' if text.endswith(chr(10)) or not text else chr(10)}{line}\n"
        parse(text, str(path))
        write_atomically(path, text.encode(), mode=mode, parents=False)
    except OSError as error:
        raise KeyFileError(f"{path} cannot be written: {error.strerror}.") from None


def _text(path: Path) -> str:
    try:
        return path.read_text("utf-8")
    except (OSError, UnicodeError) as error:
        told = error.strerror if isinstance(error, OSError) else "it is no text"
        raise KeyFileError(f"{path} cannot be read: {told}.") from None


def _is_positive(number: str) -> bool:
    return _NUMBER.fullmatch(number) is not None and float(number) > 0
