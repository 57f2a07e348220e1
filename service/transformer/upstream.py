"""The HTTP client for the server that the classifier is on."""

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx2

from service.errors import UpstreamError

RETRY_PAUSES_S = (0.1, 0.2)
"""Before each retry. A request is sent again after a failed connection only."""
CONNECT_TIMEOUT_S = 1.0
PROBE_TIMEOUT_S = 1.0
_CONNECTION_FAILED = (
    httpx2.ConnectTimeout,
    httpx2.NetworkError,
    httpx2.RemoteProtocolError,  # the server left in the middle of something
)
_AWAY = "The classifier behind this server cannot be reached; try again."
_PASSED_BACK = ("content-type", "inference-header-content-length", "retry-after")

_log = logging.getLogger(__name__)
logging.getLogger("httpx2").setLevel(logging.WARNING)  # it logs a line for each request


@dataclass(frozen=True)
class Reply:
    """The upstream's answer, to be passed back unchanged.

    Attributes:
        status: the HTTP status.
        headers: those that describe the body, and when to try again.
        body: decompressed.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Upstream:
    """Sends requests to a server over connections that stay open."""

    def __init__(self, host: str) -> None:
        """Set up a client; nothing is sent yet.

        Args:
            host: HOST or HOST:PORT; the default port is 80.
        """
        self._client = httpx2.AsyncClient(
            base_url=f"http://{host}",
            headers={"accept-encoding": "identity"},
            # The environment's proxies are not for a server beside this one.
            trust_env=False,
            # The request's deadline bounds the time of an answer.
            timeout=httpx2.Timeout(None, connect=CONNECT_TIMEOUT_S),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=64),
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def get(self, path: str) -> Reply:
        """Get a small document within :data:`PROBE_TIMEOUT_S`.

        Raises:
            UpstreamError: there was no answer.
        """
        try:
            return await self._send("GET", path, timeout=PROBE_TIMEOUT_S)
        except httpx2.HTTPError as error:
            raise UpstreamError(_AWAY) from error

    async def post(self, path: str, body: bytes, headers: Mapping[str, str]) -> Reply:
        """Send an inference request, again if the connection fails.

        Raises:
            UpstreamError: there was no answer.
        """
        pauses_s = iter(RETRY_PAUSES_S)
        while True:
            try:
                return await self._send("POST", path, content=body, headers=headers)
            except httpx2.HTTPError as error:
                pause_s = next(pauses_s, None) if isinstance(error, _CONNECTION_FAILED) else None
                if pause_s is None:
                    _log.warning("No answer from the upstream: %r", error)
                    raise UpstreamError(_AWAY) from error
            await asyncio.sleep(pause_s)

    async def _send(self, method: str, path: str, **options: Any) -> Reply:
        answer = await self._client.request(method, path, **options)
        kept = {name: answer.headers[name] for name in _PASSED_BACK if name in answer.headers}
        return Reply(answer.status_code, kept, answer.content)
