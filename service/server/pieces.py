"""The bytes that a connection has received, in pieces that do not go beyond a request's end.

The parser parses all that it is given, and a block of 250 KB can have ten thousand requests.
"""

import asyncio

from uvicorn.protocols.http.flow_control import FlowControl

from service.server.head import HEAD_END

MOST_PIECE_BYTES = 16 * 1024
"""The largest piece of a head or of chunks, each of which takes time, however small it is.

In chunks of one byte it takes 4 ms of CPU time. Other connections wait for one such piece of each
connection.
"""

_EXACT_BLANK_LINES = 64


class Pieces:
    """What was received and is not parsed yet.

    A head ends with a blank line, and so does a body in chunks. Blank lines in the data of such a
    body only make more pieces; if there are many, the pieces become longer, and the last one may
    go beyond the body's end.
    """

    def __init__(self) -> None:
        self._received = b""
        self._position = 0
        self._before = b""
        self._body_left_bytes = 0
        self._blank_lines = 0

    def __bool__(self) -> bool:
        """Whether there are more."""
        return self._position < len(self._received)

    def add(self, data: bytes) -> None:
        """Add what was just received."""
        self._received, self._position = self._received[self._position :] + data, 0

    def clear(self) -> None:
        """Forget everything."""
        self._received, self._position = b"", 0

    def begin_body(self, length_bytes: int) -> None:
        """Continue with a body of this length; 0 if it has none, or comes in chunks."""
        self._body_left_bytes, self._blank_lines = length_bytes, 0

    def next(self) -> bytes:
        """The next piece."""
        start, self._position = self._position, self._end()
        piece = self._received[start : self._position]
        if self._position == len(self._received):
            self.clear()
        return piece

    def _end(self) -> int:
        start, end = self._position, len(self._received)
        if self._body_left_bytes:
            end = min(end, start + self._body_left_bytes)
            self._body_left_bytes -= end - start
            return end
        end = min(end, start + MOST_PIECE_BYTES)
        self._blank_lines += 1
        before, self._before = self._before, b""
        if before:  # the last bytes of a piece without a blank line, which may begin one
            split = (before + self._received[start : min(end, start + 3)]).find(HEAD_END)
            if split >= 0:
                return start + split + len(HEAD_END) - len(before)
        skipped = self._blank_lines // _EXACT_BLANK_LINES
        found = self._received.find(HEAD_END, start + skipped, end)
        if found >= 0:
            return found + len(HEAD_END)
        self._before = (before + self._received[max(start, end - 3) : end])[-3:]
        return end


class PacedReading(FlowControl):
    """uvicorn's control of the reading, which goes on only when everything received is parsed."""

    def __init__(self, transport: asyncio.Transport, pieces: Pieces) -> None:
        super().__init__(transport)
        self._pieces = pieces

    def resume_reading(self) -> None:
        """Read on, unless something received is not parsed yet."""
        if not self._pieces:
            super().resume_reading()
