"""Who may ask, and how much: the keys of a file, which is read again when it has changed."""

import hmac
import logging
import time
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.auth import key_file
from service.auth.key_file import Entry, KeyFileError
from service.auth.rate_limit import Bucket
from service.errors import UnauthorizedError

_LOOK_EVERY_S = 1.0
_BEARER = HTTPBearer(auto_error=False)
_HEADER = APIKeyHeader(name="X-API-Key", auto_error=False)

_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Key:
    """A key.

    Attributes:
        entry: its line in the file.
        bucket: what is left of its images; None where it may ask for any number.
    """

    entry: Entry
    bucket: Bucket | None


current: ContextVar[Key | None] = ContextVar("current", default=None)
"""The key of the request that is being answered, where keys are needed."""


class Keys:
    """The keys of a file."""

    def __init__(self, path: Path, rate: float | None) -> None:
        """Read a file.

        Args:
            path: the file's.
            rate: images a second of a key whose line has no rate; None for any number.

        Raises:
            KeyFileError: it cannot be read, or has a line that is none.
        """
        self._path = path
        self._rate = rate
        self._looked = time.monotonic()
        self._version = self._look()
        self._keys: dict[Entry, Key] = {}
        self._read()

    def find(self, presented: str) -> Key | None:
        """The key that a client presents; None if it is none of these.

        It takes as long whichever it is.
        """
        if time.monotonic() - self._looked >= _LOOK_EVERY_S:
            self._looked = time.monotonic()
            if self._look() != self._version:
                self.reload()
        digest = key_file.digest_of(presented)
        found = None
        for entry, key in self._keys.items():
            if hmac.compare_digest(entry.digest, digest):
                found = key
        return found

    def reload(self) -> None:
        """Read the file again; if it is broken the keys stay as they are, and the log says why."""
        self._version = self._look()
        try:
            self._read()
        except KeyFileError as error:
            _log.error("The API keys stay as they are. %s", error)
        else:
            _log.info("API keys: %d", len(self._keys))

    def _read(self) -> None:
        """Take the file's keys; what one has asked for is not forgotten for another's sake."""
        entries = key_file.read(self._path)
        self._keys = {entry: self._keys.get(entry) or self._key(entry) for entry in entries}

    def _key(self, entry: Entry) -> Key:
        rate = entry.rate or self._rate
        return Key(entry, Bucket(rate, entry.burst or max(1.0, rate)) if rate else None)

    def _look(self) -> tuple[int, ...] | None:
        """What is another when the file has changed."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return found.st_ino, found.st_size, found.st_mtime_ns


async def require_key(
    request: Request,
    bearer: Annotated[HTTPAuthorizationCredentials | None, Security(_BEARER)],
    header: Annotated[str | None, Security(_HEADER)],
) -> None:
    """FastAPI dependency: who has a key gets in; health is for everyone.

    Raises:
        UnauthorizedError: there is no key, or none of ours.
        RateLimitedError: it has asked for enough; told before the body is read.
    """
    route: str = request.scope["route"].path
    if route.startswith("/v2/health/") or route.endswith("/ready"):
        return
    keys: Keys = request.app.state.warpguard.keys
    key = keys.find(bearer.credentials if bearer else header or "")
    if key is None:
        raise UnauthorizedError(
            "An API key is needed: send it as Authorization: Bearer KEY, or as X-API-Key: KEY."
        )
    request.state.key = key.entry.name
    if key.bucket is not None:
        key.bucket.check(1)
    current.set(key)
