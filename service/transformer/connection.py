"""One HTTP/1.1 connection to the upstream, which serves one request at a time.

h11 parses the answers. The connection is used again only if nothing is left of an answer: the bytes
after one client's answer would otherwise be taken for the answer to another client.
"""

import asyncio
import selectors
from collections.abc import AsyncIterator, Mapping
from typing import Self, cast

import h11

from service.errors import UpstreamAnswerError

CONNECT_TIMEOUT_S = 1.0
IDLE_S = 5.0
"""How long a connection that nobody uses stays open."""
MAX_HEAD_BYTES = 64 * 1024
"""The largest head, and the largest size line or trailer, of an answer."""
_MAX_INFORMATIONAL = 16
_READ_BYTES = 64 * 1024

_BROKEN = "The classifier behind this server does not answer in valid HTTP."


class ConnectionFailedError(Exception):
    """The connection failed, or ended before the whole answer. The request may be sent again."""


class Connection(asyncio.BufferedProtocol):
    """A connection; :meth:`open` makes it.

    Reading is paused while there is something to parse, so an upstream cannot fill the memory with
    what nobody has asked for.
    """

    _transport: asyncio.Transport  # asyncio sets it before anything else happens

    def __init__(self) -> None:
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=MAX_HEAD_BYTES)
        self._buffer = bytearray(_READ_BYTES)
        self._news = asyncio.Event()
        self._lost: Exception | None = None
        self._dropped: Exception | None = None
        self._ended = False
        self._idle: asyncio.TimerHandle | None = None

    @classmethod
    async def open(cls, host: str, port: int) -> Self:
        """Connect.

        Raises:
            ConnectionFailedError: it is not possible within :data:`CONNECT_TIMEOUT_S`.
        """
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                loop = asyncio.get_running_loop()
                _, connection = await loop.create_connection(cls, host, port)
        except TimeoutError:
            raise ConnectionFailedError(f"no connection within {CONNECT_TIMEOUT_S:g} s") from None
        except OSError as error:
            raise ConnectionFailedError(str(error)) from error
        return connection

    async def ask(
        self, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> h11.Response:
        """Send a request, and return the head of its answer.

        Raises:
            ConnectionFailedError: the connection ended before that.
            UpstreamAnswerError: the answer is not valid HTTP.
        """
        for event in (
            h11.Request(method=method, target=path, headers=list(headers.items())),
            h11.Data(data=body),
            h11.EndOfMessage(),
        ):
            # What cannot be sent at once is kept, so an upstream may answer before it has read all.
            self._transport.write(self._http.send(event) or b"")
        for _ in range(_MAX_INFORMATIONAL):
            answer = await self._event()
            if isinstance(answer, h11.Response):
                return answer
            if not isinstance(answer, h11.InformationalResponse) or answer.status_code == 101:
                break
        raise UpstreamAnswerError(_BROKEN)

    async def body(self) -> AsyncIterator[bytes]:
        """Receive the body of the answer, piece by piece.

        Raises:
            ConnectionFailedError: the connection ended before the body.
            Exception: the request was dropped.
            UpstreamAnswerError: the answer is not valid HTTP.
        """
        while isinstance(event := await self._event(), h11.Data):
            yield bytes(event.data)
            await asyncio.sleep(0)  # small pieces are already there: let others have a turn

    @property
    def is_open(self) -> bool:
        """Whether neither side has closed it."""
        return self._lost is None and not self._transport.is_closing()

    def rest(self) -> bool:
        """Wait for another request; False if the connection cannot be used again."""
        http = self._http
        if (
            (http.our_state, http.their_state) != (h11.DONE, h11.DONE)
            or http.trailing_data != (b"", False)
            or self._transport.get_write_buffer_size()
            or not self.is_open
        ):
            return False
        http.start_next_cycle()
        self._idle = asyncio.get_running_loop().call_later(IDLE_S, self.close)
        self._transport.resume_reading()  # to learn that the upstream has closed it
        return True

    def wake(self) -> bool:
        """Get ready for a request; False if the connection has ended, or has unread bytes."""
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if not self.is_open or self._is_readable():
            self.close()
            return False
        return True

    def close(self) -> None:
        """Close it at once."""
        self._transport.abort()

    def drop(self, error: Exception) -> None:
        """End the request on this connection, which gets an error."""
        self._dropped = error
        self._news.set()

    # What asyncio calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = cast("asyncio.Transport", transport)

    def get_buffer(self, sizehint: int) -> bytearray:
        """Return the place for what arrives next."""
        del sizehint
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        """Keep what has arrived, and read no more until it is parsed."""
        if self._idle is not None:  # nobody has asked for this
            self.close()
            return
        self._transport.pause_reading()
        self._http.receive_data(bytes(memoryview(self._buffer)[:nbytes]))
        self._news.set()

    def eof_received(self) -> None:
        """Wake the request that waits; asyncio then closes the connection."""
        self._lost = ConnectionResetError("the upstream has closed the connection")
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wake the request that waits."""
        if self._idle is not None:
            self._idle.cancel()
        self._lost = self._lost or exc or ConnectionResetError("the connection is closed")
        self._news.set()

    def _is_readable(self) -> bool:
        """Whether there are bytes, or an end, that the event loop has not read yet."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._transport.get_extra_info("socket"), selectors.EVENT_READ)
            return bool(selector.select(0))

    async def _event(self) -> h11.Event | type[h11.PAUSED]:
        """The next part of the answer."""
        while self._dropped is None:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if self._ended:
                    raise ConnectionFailedError(str(self._lost)) from error
                raise UpstreamAnswerError(_BROKEN) from error
            if event is not h11.NEED_DATA:
                return cast("h11.Event", event)
            if self._lost is not None:
                self._ended = True
                self._http.receive_data(b"")
                continue
            self._news.clear()
            if self.is_open:
                self._transport.resume_reading()
            await self._news.wait()
        raise self._dropped
