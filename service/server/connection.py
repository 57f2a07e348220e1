"""One client's connection: how much time and memory its requests may take to arrive.

uvicorn has no limits for heads and slow clients, and its own errors are plain text.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.error_response import ErrorResponder
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
"""The paths that are answered beyond the limit of connections too, on a few spare ones."""

_SPARE_CONNECTIONS = 64
_SPARE_S = 2.0


@dataclass(frozen=True)
class ConnectionLimits:
    """The limits of a server's connections.

    Attributes:
        request_s: the longest time for a request to arrive, and for its answer to be fetched.
        connections: the most connections at once; None for any number.
        errors: answers errors, and counts them.
        is_draining: whether each connection must end with its next answer.
    """

    request_s: float
    connections: int | None
    errors: ErrorResponder
    is_draining: Callable[[], bool]


def connection_class(limits: ConnectionLimits) -> type["Connection"]:
    """The class of the connections with these limits, as uvicorn wants it."""
    return type("LimitedConnection", (Connection,), {"limits": limits})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits.

    A timer runs from the connection, or from a request's first byte, to the request's last byte.
    Between requests uvicorn's own timer runs, and during its work a request has a deadline.
    """

    limits: ClassVar[ConnectionLimits]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the request timer; beyond the connection limit, a short one."""
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
        """Stop the timers."""
        self._stop_timer()
        if self._fetching is not None:
            self._fetching.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse some bytes, and limit those of a head."""
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer(self.limits.request_s)
        was_in_head = self._in_head
        super().data_received(data)
        # The chunk in which a head starts may end the previous body, so it does not count.
        if was_in_head and self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Begin a request, perhaps in the middle of a chunk."""
        super().on_message_begin()
        self._in_head, self._head_bytes = True, 0
        if self._timer is None:
            self._start_timer(self.limits.request_s)

    def on_headers_complete(self) -> None:
        """Check the head's size, and start the application."""
        self._in_head = False
        if len(self.url) + sum(len(n) + len(v) for n, v in self.headers) > MOST_HEAD_BYTES:
            self._refusing = _HEAD_TOO_LARGE
            raise ValueError(_HEAD_TOO_LARGE.message)  # this stops the parser
        super().on_headers_complete()
        if self.limits.is_draining():
            self.cycle.keep_alive = False  # the answer says so; the client opens another

    def on_message_complete(self) -> None:
        """Stop the timer: the whole request has arrived."""
        super().on_message_complete()
        self._stop_timer()

    def on_response_complete(self) -> None:
        """Limit the time for the client to fetch the answer."""
        super().on_response_complete()
        if self._fetching is None:
            self._wait_for_client(self.transport.get_write_buffer_size())

    def send_400_response(self, msg: str) -> None:
        """Answer a request that the parser, or a method above, refused."""
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
        if self.pipeline:  # the client is waiting for the server here
            self._start_timer(self.limits.request_s)
        elif (begun and self.cycle.response_started) or not (begun or self._in_head):
            self.transport.close()
        else:
            self._refuse(
                RequestTimeoutError(f"The request did not arrive in {self.limits.request_s:g} s.")
            )

    def _wait_for_client(self, unsent: int) -> None:
        """Disconnect a client that fetches nothing of its answer for too long."""

        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._wait_for_client(left)
            else:
                self.transport.abort()

        self._fetching = self.loop.call_later(self.limits.request_s, check) if unsent else None

    def _refuse(self, error: ServiceError) -> None:
        """Answer in place of the application, and close."""
        if self.transport.is_closing():
            return
        answer = self.limits.errors.response(self.url.decode("latin-1"), error)
        lines = [b"%b: %b\r\n" % header for header in answer.raw_headers]
        self.transport.write(
            b"".join([STATUS_LINE[error.status], *lines, b"connection: close\r\n\r\n", answer.body])
        )
        self.transport.close()


_HEAD_TOO_LARGE = HeadTooLargeError(f"The head is larger than {MOST_HEAD_BYTES} bytes.")


def _only_probes(app: Any, limits: ConnectionLimits) -> ASGIApp:
    """The application for a connection beyond the limit."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        error = OverloadedError(f"There are more than {limits.connections} connections.")
        answer = limits.errors.response(scope["path"], error)
        answer.headers["connection"] = "close"
        await answer(scope, receive, send)

    return refuse
