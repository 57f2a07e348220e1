"""The HTTP client for the server that the classifier is on.

Nothing of one answer goes with another request: there are no cookies, no redirects, no credentials
of a URL, and a connection is used again only if nothing is left of its last answer.
"""

import asyncio
import logging
from collections.abc import Mapping
from urllib.parse import urlsplit

from service.errors import UpstreamError
from service.transformer.answer import Reply, read_answer
from service.transformer.connection import Connection, ConnectionFailedError

RETRY_PAUSES_S = (0.1, 0.2)
"""Before each retry. A request is sent again after a failed connection only."""
PROBE_TIMEOUT_S = 1.0
MAX_DOCUMENT_BYTES = 1024 * 1024
"""The largest answer to a GET: metadata, or whether a model is ready."""
_HTTP_PORT = 80
_MAX_IDLE = 64
_LOGGED = 200  # the most characters of an error in the log, since it may quote the upstream
_AWAY = "The classifier behind this server cannot be reached; try again."
_TOO_MUCH = "The answers of the classifier are too large together; try again."

_log = logging.getLogger(__name__)


class Upstream:
    """Sends requests to a server over connections that stay open."""

    def __init__(self, host: str, *, max_answer_bytes: int, max_held_bytes: int) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            host: HOST or HOST:PORT; the default port is 80.
            max_answer_bytes: the largest answer to an inference request.
            max_held_bytes: the most bytes of all the answers that are being received.
        """
        address = urlsplit(f"//{host}")
        self._host, self._port = str(address.hostname), address.port or _HTTP_PORT
        self._own_headers = {"host": host, "accept-encoding": "identity", "user-agent": "warpguard"}
        self._max_answer_bytes = max_answer_bytes
        self._max_held_bytes = max_held_bytes
        self._idle: list[Connection] = []
        self._held_bytes: dict[Connection, int] = {}

    async def close(self) -> None:
        """Close the connections."""
        while self._idle:
            self._idle.pop().close()

    async def get(self, path: str) -> Reply:
        """Get a small document within :data:`PROBE_TIMEOUT_S`.

        Raises:
            UpstreamError: there was no answer, or none that can be passed back.
        """
        try:
            async with asyncio.timeout(PROBE_TIMEOUT_S):
                return await self._send("GET", path, b"", {}, MAX_DOCUMENT_BYTES)
        except (TimeoutError, ConnectionFailedError) as error:
            raise UpstreamError(_AWAY) from error

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send an inference request, again if the connection fails.

        The request's deadline bounds the time of the answer.

        Raises:
            UpstreamError: there was no answer, or none that can be passed back.
        """
        headers = {**headers, "content-length": str(len(body))}
        pauses_s = iter(RETRY_PAUSES_S)
        while True:
            try:
                return await self._send("POST", path, body, headers, self._max_answer_bytes)
            except ConnectionFailedError as error:
                pause_s = next(pauses_s, None)
                if pause_s is None:
                    _log.warning("No answer from the upstream: %s", error)
                    raise UpstreamError(_AWAY) from error
            except UpstreamError as error:
                _log.warning("%s %s", error, str(error.__cause__ or "")[:_LOGGED])
                raise
            await asyncio.sleep(pause_s)

    async def _send(
        self, method: str, path: str, body: bytes, headers: Mapping[str, str], max_bytes: int
    ) -> Reply:
        connection = self._rested() or await Connection.open(self._host, self._port)
        self._held_bytes[connection] = 0
        kept = False
        try:
            head = await connection.ask(method, path, {**self._own_headers, **headers}, body)
            reply = await read_answer(
                head,
                connection.body(),
                max_bytes=max_bytes,
                hold=lambda size: self._hold(connection, size),
            )
            kept = len(self._idle) < _MAX_IDLE and connection.rest()
        finally:
            del self._held_bytes[connection]
            if not kept:
                connection.close()
        if kept:
            self._idle.append(connection)
        return reply

    def _rested(self) -> Connection | None:
        """A connection that is still open, the last that was used."""
        self._idle = [connection for connection in self._idle if connection.is_open]
        while self._idle:
            connection = self._idle.pop()
            if connection.wake():
                return connection
        return None

    def _hold(self, connection: Connection, size: int) -> None:
        """Count bytes as held; if all are too many, drop the largest of the answers."""
        self._held_bytes[connection] += size
        if sum(self._held_bytes.values()) > self._max_held_bytes:
            largest = max(self._held_bytes, key=self._held_bytes.__getitem__)
            largest.drop(UpstreamError(_TOO_MUCH))
