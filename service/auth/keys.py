"""Who may ask, and how much: the keys of a file, which is read again when it changes."""

import asyncio
import hmac
import logging
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from fastapi import Request, Security
from fastapi.security import APIKeyHeader, HTTPAuthorizationCredentials, HTTPBearer

from service.auth import key_file
from service.auth.client import Client
from service.auth.key_file import KeyEntry, KeyFileError
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
        bucket: its rate limit; None without a limit.
    """

    entry: KeyEntry
    bucket: Bucket | None


class Keys:
    """The keys of a file."""

    def __init__(self, path: Path, rate: float | None) -> None:
        """Read a file.

        Args:
            path: the file's path.
            rate: images a second, for keys whose line has no rate; None for no limit.

        Raises:
            KeyFileError: the file cannot be read, or one of its lines is not a key entry.
        """
        self._path = path
        self._rate = rate
        self._looked_s = time.monotonic()
        self._version = self._file_version()
        self._keys: dict[KeyEntry, Key] = {}
        self._read()

    async def refresh(self) -> None:
        """Look at the file, if that was not done within the last second, and read it if it changed.

        A thread reads it. Where the file system takes longer than a second, the request goes on
        with the keys of before.
        """
        now_s = time.monotonic()
        if now_s - self._looked_s >= _LOOK_EVERY_S:
            self._looked_s = now_s
            with suppress(TimeoutError):
                await asyncio.wait_for(asyncio.to_thread(self._read_if_changed), _LOOK_EVERY_S)

    async def reload(self) -> None:
        """Read the file again, in a thread; if that fails, keep the keys and log the reason."""
        await asyncio.to_thread(self._read_again)

    def find(self, presented: str) -> Key | None:
        """The key that a client presents; None if the file does not have it.

        The time does not depend on which key it is.
        """
        digest = key_file.digest_of(presented)
        found = None
        for entry, key in self._keys.items():
            if hmac.compare_digest(entry.digest, digest):
                found = key
        return found

    def _read_if_changed(self) -> None:
        if self._file_version() != self._version:
            self._read_again()

    def _read_again(self) -> None:
        self._version = self._file_version()
        try:
            self._read()
        except KeyFileError as error:
            _log.error("The API keys stay as they are. %s", error)
        else:
            _log.info("API keys: %d", len(self._keys))

    def _read(self) -> None:
        """Load the keys; unchanged keys keep their rate-limit state."""
        entries = key_file.read(self._path)
        self._keys = {entry: self._keys.get(entry) or self._key(entry) for entry in entries}

    def _key(self, entry: KeyEntry) -> Key:
        rate = entry.rate or self._rate
        return Key(entry, Bucket(rate, entry.burst or max(1.0, rate)) if rate else None)

    def _file_version(self) -> tuple[int, ...] | None:
        """A fingerprint that changes when the file does."""
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
    """FastAPI dependency of a server with keys: only a request with a key gets in.

    Health is for everyone. The route gets the key's client as ``service.backend.Sender``. A POST
    takes one image of the key's rate at once, whatever becomes of it.

    Raises:
        UnauthorizedError: the request has no key, or an unknown one.
        RateLimitedError: the key may ask for no image now; raised before the body is read.
    """
    route: str = request.scope["route"].path
    if route.startswith("/v2/health/") or route.endswith("/ready"):
        return
    keys: Keys = request.app.state.backend.keys
    await keys.refresh()
    key = keys.find(bearer.credentials if bearer else header or "")
    if key is None:
        raise UnauthorizedError(
            "An API key is needed, and this request has none or one that the server does not have "
            "(any more): send it whole as Authorization: Bearer KEY, or as X-API-Key: KEY."
        )
    client = Client(key.entry.name, key.bucket, signals=key.entry.alarm)
    request.state.key = client.name
    request.state.client = client
    if request.method == "POST":
        client.charge(1)
    elif key.bucket is not None:
        key.bucket.check(1)
