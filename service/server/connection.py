"""One client's connection: how much time and memory its requests may take to arrive.

uvicorn has no limits for heads, trailers, pipelines and slow clients, and its own errors are plain
text. It also loses the body of a request that asks for another protocol, and the answer to a client
that has closed its sending side.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from service.error_response import ErrorResponder
from service.errors import BadRequestError, RequestTimeoutError, ServiceError
from service.server.head import (
    MOST_HEAD_BYTES,
    check_head,
    explain,
    head_too_large,
    without_upgrade,
)
from service.server.pieces import MOST_PIECE_BYTES, PacedReading, Pieces
from service.server.spare import SPARE_S, SpareConnections, only_probes

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_ASK_EVERY_S = 2.0
"""How often a client that has closed its sending side is asked whether it still listens."""


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
    return type("LimitedConnection", (Connection,), {"limits": limits, "spare": SpareConnections()})


class Connection(HttpToolsProtocol):
    """uvicorn's connection, with limits.

    A timer runs from the connection, or from a request's first byte, to the request's last byte.
    Between requests uvicorn's own timer runs, and during its work a request has a deadline.

    The parser is fed piece by piece. No piece goes beyond the end of a request, and the next
    request is parsed once the one before is answered.
    """

    limits: ClassVar[ConnectionLimits]
    spare: ClassVar[SpareConnections]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Start the request timer; beyond the connection limit, a short one."""
        super().connection_made(transport)
        self.parser = httptools.HttpRequestParser(self)  # uvicorn's takes more after the last one
        self.url = b""
        self._timer: asyncio.TimerHandle | None = None
        self._fetching: asyncio.TimerHandle | None = None
        self._asking: asyncio.TimerHandle | None = None
        self._pieces = Pieces()
        self.flow = PacedReading(transport, self._pieces)
        self._in_head = self._in_body = self._in_trailers = False
        self._head_bytes = self._trailers_bytes = 0
        self._keeps_alive = True
        self._ended = False
        self._spare_address: str | None = None
        seconds = self.limits.request_s
        if self.limits.connections and len(self.connections) > self.limits.connections:
            address = self.client[0] if self.client else ""
            if not self.spare.take(address):
                transport.abort()
                return
            self._spare_address = address
            self.app = only_probes(self.app, self.limits.connections, self.limits.errors)
            seconds = min(SPARE_S, seconds)
        self._start_timer(seconds)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the timers."""
        for timer in (self._timer, self._fetching, self._asking):
            if timer is not None:
                timer.cancel()
        if self._spare_address is not None:
            self.spare.give_back(self._spare_address)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Keep some bytes, and parse what may be parsed now."""
        self._unset_keepalive_if_required()
        self._pieces.add(data)
        self._parse()

    def eof_received(self) -> bool:  # type: ignore[override]  # asyncio wants a bool
        """Answer a client that has closed its sending side, if its request is whole.

        Most clients that do this have left, and some wait for the answer. The difference shows
        when something is written: a client that has left resets the connection.
        TLS cannot close one direction alone, so over TLS the connection ends at once.
        """
        if self.scheme == "https" or not (self._is_answering or self._pieces):
            return False
        self._ended = True
        if not self._pieces:
            self.cycle.keep_alive = False
        self._asking = self.loop.call_later(_ASK_EVERY_S, self._ask_whether_client_listens)
        return True

    def on_message_begin(self) -> None:
        """Begin a request, unless the one before it is not answered."""
        if self._is_answering:
            raise BadRequestError("The client must wait, or ask again after the next answer.")
        super().on_message_begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header, or count the bytes of a trailer and drop it."""
        if self._in_body:
            self._trailers_bytes += len(name) + len(value) + 4
            if self._trailers_bytes > MOST_HEAD_BYTES:
                raise head_too_large()  # this stops the parser
        else:
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Check the head, and start the application."""
        length = check_head(self.parser, self.url, self.headers)
        if self.parser.should_upgrade():
            return  # _feed() begins this request again
        super().on_headers_complete()
        self._in_head, self._in_body, self._trailers_bytes = False, True, 0
        self._pieces.begin_body(length)
        if self._spare_address is not None or self.limits.is_draining():
            self.cycle.keep_alive = False  # the answer says so; the client opens another
        if self.expect_100_continue:  # if it is refused, nobody knows whether its body will follow
            self._keeps_alive, self.cycle.keep_alive = self.cycle.keep_alive, False

    def on_chunk_header(self) -> None:
        """Expect a chunk's data or, after the last chunk, trailers."""
        self._in_trailers, self._head_bytes = True, 0

    def on_body(self, body: bytes) -> None:
        """Pass on a part of the body."""
        self._in_trailers = False
        if self.expect_100_continue:
            self.cycle.keep_alive = self._keeps_alive
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Stop the timer: the whole request has arrived."""
        if self.parser.should_upgrade():
            return
        super().on_message_complete()
        self._in_body = self._in_trailers = False
        self._head_bytes = 0
        self._stop_timer()

    def on_response_complete(self) -> None:
        """Parse the next request, and limit the time for the client to fetch this answer."""
        super().on_response_complete()
        if self._fetching is None:
            self._wait_for_client(self.transport.get_write_buffer_size())
        if self._pieces:
            self._unset_keepalive_if_required()
        if self._pieces or self._ended:
            self._parse()

    def shutdown(self) -> None:
        """Close after the answer to the request that has begun, or else now."""
        self._keeps_alive = False
        super().shutdown()

    @property
    def _is_answering(self) -> bool:
        """Whether a whole request has arrived, and is not answered yet."""
        return bool(self.cycle) and not (self.cycle.response_complete or self.cycle.more_body)

    def _parse(self) -> None:
        """Feed the parser up to the end of a request, if the one before it is answered.

        Of a large block, only a part is parsed now, because other connections wait.
        """
        if self._timer is None and (self.cycle is None or self.cycle.response_complete):
            self._start_timer(self.limits.request_s)
        parsed_bytes = 0
        while self._pieces and not self.transport.is_closing():
            if self._is_answering or parsed_bytes >= MOST_PIECE_BYTES:
                if not self._ended:
                    self.flow.pause_reading()
                if not self._is_answering:
                    self.loop.call_soon(self._parse)
                return
            piece = self._pieces.next()
            parsed_bytes += len(piece)
            self._feed(piece)
        self._pieces.clear()
        if self._ended and not self._is_answering:
            self.transport.close()
        elif self.cycle is None or len(self.cycle.body) <= HIGH_WATER_LIMIT:
            self.flow.resume_reading()  # or else uvicorn does, when the body has been taken

    def _feed(self, piece: bytes) -> None:
        """Parse a piece, and limit the bytes of an unfinished head or of unfinished trailers."""
        self._head_bytes += len(piece)
        try:
            self.parser.feed_data(piece)
        except httptools.HttpParserUpgrade:  # the parser stops here, without the body
            method, version = self.parser.get_method(), self.parser.get_http_version()
            head = without_upgrade(method, self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self._feed(head)
        except httptools.HttpParserError as error:
            if self._is_answering:  # on_message_begin() stopped the parser
                self.cycle.keep_alive = False
                self._pieces.clear()
            else:
                self._refuse(explain(error))
        else:
            unfinished = self._in_trailers or not self._in_body
            if unfinished and self._head_bytes > MOST_HEAD_BYTES:
                self._refuse(head_too_large())

    def pause_writing(self) -> None:
        """Limit the time for the client to fetch what has been written of its answer."""
        super().pause_writing()
        if self._fetching is None:
            self._wait_for_client(self.transport.get_write_buffer_size())

    def resume_writing(self) -> None:
        """Start that timer again, or stop it where the answer goes on."""
        super().resume_writing()
        if self._fetching is not None:
            self._fetching.cancel()
            is_complete = self.cycle is None or self.cycle.response_complete
            self._wait_for_client(self.transport.get_write_buffer_size() if is_complete else 0)

    def _start_timer(self, seconds: float) -> None:
        self._timer = self.loop.call_later(seconds, self._on_timeout)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _on_timeout(self) -> None:
        self._timer = None
        if not (self._in_head or self._in_body):
            self.transport.close()
            return
        late = f"The request did not arrive in {self.limits.request_s:g} s."
        self._refuse(RequestTimeoutError(late))

    def _wait_for_client(self, unsent: int) -> None:
        """Disconnect a client that fetches nothing of its answer for too long."""

        def check() -> None:
            left = self.transport.get_write_buffer_size()
            if left < unsent:
                self._wait_for_client(left)
            else:
                self.transport.abort()

        self._fetching = self.loop.call_later(self.limits.request_s, check) if unsent else None

    def _ask_whether_client_listens(self) -> None:
        """Write an interim answer, which every client of HTTP/1.1 skips.

        If the client has left, its reset makes the write after the next one fail.
        """
        if self.scope["http_version"] == "1.1" and not self.cycle.response_started:
            self.transport.write(_CONTINUE)
        self._asking = self.loop.call_later(_ASK_EVERY_S, self._ask_whether_client_listens)

    def _refuse(self, error: ServiceError) -> None:
        """Answer in place of the application, and close; if it has begun to answer, only close."""
        if self.transport.is_closing():
            return
        if not (self._in_body and self.cycle.response_started):
            answer = self.limits.errors.response(self.url.decode("latin-1"), error)
            lines = [b"%b: %b\r\n" % header for header in answer.raw_headers]
            head = [STATUS_LINE[error.status], *lines, b"connection: close\r\n\r\n"]
            self.transport.write(b"".join([*head, answer.body]))
        self.transport.close()
