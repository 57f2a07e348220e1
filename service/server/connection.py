"""One client's connection: how much time and memory it may take to say what it wants.

uvicorn has no limits of its own for heads and slow clients, and its refusals are plain text.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.error_response import refusal
from service.errors import (
    BadRequestError,
    HeadTooLargeError,
    OverloadedError,
    RequestTimeoutError,
    ServiceError,
)

MOST_HEAD_BYTES = 16 * 1024
"""The largest request line with its headers."""
PROBES = frozenset(("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics"))
"""What is answered on connections over the limit too, a few of them."""

_SPARE_CONNECTIONS = 64
_SPARE_S = 2.0


@dataclass(frozen=True)
class Limits:
    """What connections may take.

    Attributes:
        request_s: the longest that a request may take to arrive, and an answer to be fetched.
        connections: the most at once; None for any number.
        on_refusal: told the code of each error that is answered here.
        is_draining: whether connections are to end with the request that is answered next.
    """

    request_s: float
    connections: int | None
    on_refusal: Callable[[str], None]
    is_draining: Callable[[], bool]


def limited(limits: Limits) -> type["Connection"]:
    """The connections of a server with some limits."""

    class Limited(Connection):
        pass

    Limited.limits = limits
    return Limited


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits.

    A timer runs from the connection, or from a request's first byte, until the request's last one;
    between requests it is uvicorn's, and while a request is worked on there is a deadline.
    """

    limits: ClassVar[Limits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a first request; over the limit, not for long."""
        super().connection_made(transport)
        self.url = b""
        self._timer: asyncio.TimerHandle | None = None
        self._fetching: asyncio.TimerHandle | None = None
        self._in_head = False
        self._head_bytes = 0
        self._refusing: ServiceError = BadRequestError("This is not HTTP.")
        over = len(self.connections) - (self.limits.connections or len(self.connections))
        if over > _SPARE_CONNECTIONS:
            transport.abort()
        elif over > 0:
            self.app = _only_probes(self.app, self.limits)
            self._start_timer(min(_SPARE_S, self.limits.request_s))
        else:
            self._start_timer(self.limits.request_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._stop_timer()
        if self._fetching is not None:
            self._fetching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse some bytes."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer(self.limits.request_s)
        was_in_head = self._in_head
        super().data_received(data)
        if was_in_head and self._in_head:  # what a head begins in may be the end of a body
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """A request begins, maybe in the middle of what has arrived."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._start_timer(self.limits.request_s)

    def on_headers_complete(self) -> None:
        """The application is started."""
        self._in_head = False
        if len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > MOST_HEAD_BYTES:
            self._refusing = _HEAD_TOO_LARGE
            raise ValueError(_HEAD_TOO_LARGE.message)  # which makes the parser stop
        super().on_headers_complete()
        if self.limits.is_draining():
            self.cycle.keep_alive = False  # the client is told, and takes another connection

    def on_message_complete(self) -> None:
        """The request is here."""
        super().on_message_complete()
        self._stop_timer()

    def on_response_complete(self) -> None:
        """See that the client fetches it, too."""
        super().on_response_complete()
        if self._fetching is None:
            self._wait_for_client(self.transport.get_write_buffer_size())

    def send_400_response(self, msg: str) -> None:
        """Refuse what the parser, or a method above, could not take."""
        del msg
        self._refuse(self._refusing)

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        begun = self.cycle is not None and not self.cycle.response_complete
        if self.pipeline:  # the client waits for an answer, rather than the server for the client
            self._start_timer(self.limits.request_s)
        elif (begun and self.cycle.response_started) or not (begun or self._in_head):
            self.transport.close()
        else:
            self._refuse(
                RequestTimeoutError(f"The request did not arrive in {self.limits.request_s:g} s.")
            )

    def _wait_for_client(self, unsent: int) -> None:
        """Leave a client that fetches nothing of what there is for it."""

        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._wait_for_client(left)
            else:
                self.transport.abort()

        self._fetching = self.loop.call_later(self.limits.request_s, check) if unsent else None

    def _refuse(self, error: ServiceError) -> None:
        """Answer on behalf of the application, and close."""
        if self.transport.is_closing():
            return
        self.limits.on_refusal(error.code)
        path = self.url.decode("latin-1")
        answer = refusal(path, error.status, error.code, error.message)
        lines = [b"%b: %b\r\n" % header for header in answer.raw_headers]
        self.transport.write(
            b"".join([STATUS_LINE[error.status], *lines, b"connection: close\r\n\r\n", answer.body])
        )
        self.transport.close()


_HEAD_TOO_LARGE = HeadTooLargeError(f"The head is larger than {MOST_HEAD_BYTES} bytes.")


def _only_probes(app: Any, limits: Limits) -> ASGIApp:
    """The application for a connection that is one too many."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        error = OverloadedError(f"There are more than {limits.connections} connections.")
        limits.on_refusal(error.code)
        answer = refusal(scope["path"], error.status, error.code, error.message)
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)

    return refuse
