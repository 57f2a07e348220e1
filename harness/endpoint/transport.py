"""Requests over HTTP to an endpoint that may be hostile: answers are limited in size and time."""

import re
import ssl
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from typing import Any

import anyio
import httpx2
from anyio.from_thread import start_blocking_portal

from harness.errors import EndpointError

ANSWER_WITHIN_S = 120.0
"""How long one answer may take, from the connection to the last byte."""
MAX_ANSWER_BYTES = 1 << 20
"""How large an answer may be. The probabilities of a thousand classes take 4 kB, or 100 kB in JSON;
the objects of a JSON document take up to thirty times its size."""
GIVE_UP_AFTER_S = 120.0
"""How long a request is repeated while the endpoint is busy."""
_LONGEST_WAIT_S = 5.0
_BUSY = (429, 503, 504)
"""Too many images, not ready, or not done within the server's deadline."""
_SHOWN_OF_AN_ERROR = 300
_WITH_A_KEY = " The harness sends the key of --api-key, --api-key-file or WARPGUARD_API_KEY."
_HEADER_NAME = re.compile(r"[A-Za-z0-9_-]+")
_NOT_COMPRESSED = ("Accept-Encoding", "identity")


@dataclass(frozen=True)
class Answer:
    """A whole answer with the status 200.

    Attributes:
        url: the address that was asked, for messages.
        headers: the headers, whose names are in lower case.
        body: the bytes, which were not compressed.
    """

    url: str
    headers: Mapping[str, str]
    body: bytes


class Transport:
    """Connections to one endpoint. Several threads may use them.

    The requests run in an event loop of their own, because only there a time limit ends a request
    wherever it is: a server that sends its headers byte by byte holds a blocking client for ever.
    """

    def __init__(
        self,
        url: str,
        headers: Sequence[tuple[str, str]] = (),
        certificates: ssl.SSLContext | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
    ) -> None:
        """Set up the client; nothing is sent yet.

        Args:
            url: the address, such as ``http://127.0.0.1:8080``.
            headers: what each request sends.
            certificates: the trusted authorities; by default those of the system.
            transport: what makes the requests, for tests.

        Raises:
            EndpointError: the address or a header is not valid.
        """
        for name, value in headers:
            if not (_HEADER_NAME.fullmatch(name) and value.isascii() and value.isprintable()):
                raise EndpointError(
                    f"The header {name} cannot be sent: its name must consist of letters, digits "
                    "and hyphens, and its value of printable ASCII characters."
                )
        try:
            self._client = httpx2.AsyncClient(
                base_url=url,
                headers=[*headers, _NOT_COMPRESSED],
                timeout=None,  # a limit of each read; the whole answer has one in _send
                transport=transport,
                verify=_system_certificates() if certificates is None else certificates,
            )
        except (httpx2.InvalidURL, ValueError) as error:
            raise EndpointError(
                f"{url} is not a valid address: {error}. Give one such as http://127.0.0.1:8080."
            ) from None
        self.url = str(self._client.base_url.copy_with(username=None, password=None)).rstrip("/")
        self._open = ExitStack()
        self._portal = self._open.enter_context(start_blocking_portal(name="endpoint"))
        self._open.callback(self._portal.call, self._portal.stop, True)
        self._open.callback(self._portal.call, self._client.aclose)

    def close(self) -> None:
        """Close the connections, and end the requests that are under way."""
        self._open.close()

    def get(self, path: str) -> Answer:
        """Get a document.

        Raises:
            EndpointError: see :meth:`post`.
        """
        return self._request("GET", path)

    def post(self, path: str, content: bytes, **options: Any) -> Answer:
        """Post bytes, and post them again while the endpoint is busy.

        Raises:
            EndpointError: the endpoint cannot be reached, refuses, stays busy for
                :data:`GIVE_UP_AFTER_S`, or its answer is too large, too slow or compressed.
        """
        return self._request("POST", path, content=content, **options)

    def _request(self, method: str, path: str, **options: Any) -> Answer:
        give_up = time.monotonic() + GIVE_UP_AFTER_S
        while True:
            status, answer = self._portal.call(lambda: self._send(method, path, **options))
            if status not in _BUSY or time.monotonic() > give_up:
                break
            time.sleep(_wait_s(answer.headers.get("retry-after")))
        if status != httpx2.codes.OK:
            text = answer.body[:_SHOWN_OF_AN_ERROR].decode("utf-8", "replace")
            to_do = _WITH_A_KEY if status == httpx2.codes.UNAUTHORIZED else ""
            raise EndpointError(f"{answer.url} answered {status}: {text}{to_do}")
        return answer

    async def _send(self, method: str, path: str, **options: Any) -> tuple[int, Answer]:
        url = f"{self.url}{path}"
        try:
            with anyio.fail_after(ANSWER_WITHIN_S):
                async with self._client.stream(method, path, **options) as reply:
                    body = await _body(url, reply)
                    return reply.status_code, Answer(url, dict(reply.headers), body)
        except TimeoutError:
            raise EndpointError(
                f"{url} did not send a whole answer within {ANSWER_WITHIN_S:g} s."
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, OSError, ValueError) as error:
            raise EndpointError(
                f"{self.url} cannot be reached: {str(error).rstrip('.')}."
            ) from None


async def _body(url: str, reply: httpx2.Response) -> bytes:
    encoding = reply.headers.get("Content-Encoding", "identity")
    if encoding != "identity":
        raise EndpointError(
            f"{url} sent an answer that is compressed ({encoding}), which was not asked for: a "
            "small one may fill the memory. Switch the compression off on the way."
        )
    body = bytearray()
    async for chunk in reply.aiter_bytes():
        body += chunk
        if len(body) > MAX_ANSWER_BYTES:
            raise EndpointError(
                f"{url} sent more than {MAX_ANSWER_BYTES >> 20} MiB, which is too much for an "
                "answer to one image."
            )
    return bytes(body)


@cache
def _system_certificates() -> ssl.SSLContext:
    """Load the trusted certificates once: it takes 30 ms, and a table has dozens of targets."""
    return httpx2.create_ssl_context()


def _wait_s(retry_after: str | None) -> float:
    """Return how long to wait. The header may also be a date, which counts as one second."""
    try:
        return min(_LONGEST_WAIT_S, max(0.05, float(retry_after or 1)))  # 0.05 for NaN as well
    except ValueError:
        return 1.0
