"""The JSON of large bodies, read in pieces: other threads take turns, and numbers become arrays.

The parser keeps Python's lock until it is done, which takes a second for 16 million numbers, and
makes an object of each. So long lists are taken out of the text first, fragment by fragment. A
fragment goes from one comma to another and is parsed within the brackets that are open around it.
What is left of the text is short, and is parsed as a whole with something short in the place of
each list. Long strings are taken out likewise.
"""

import re
import secrets
from typing import Any

import numpy as np
from pydantic_core import from_json

from service.errors import BadRequestError
from service.oip.numbers import Numbers

TOO_MUCH = "The request's JSON has more strings or lists than any image needs: pixels are numbers."

_LONG_BYTES = 64 << 10
"""A text that is not longer is parsed as a whole; a longer one in fragments of this size."""
_LONG_STRING_BYTES = 64 << 10
_SHORT_LIST_BYTES = 4 << 10
"""Lists that are not longer stay in the text, and those of few numbers do."""
_FEW_NUMBERS = 16
_MOST_LEFT_BYTES = 256 << 10
"""The most text beside strings and spaces that is parsed as a whole."""
_COUNTED_BYTES = 1 << 20

_SPACES = b" \t\r\n"
_UNUSUAL = bytes(byte for byte in range(256) if byte < 32 or byte > 127 or byte == ord("\\"))
_OPENING = re.compile(rb"[ \t\r\n]*:?[ \t\r\n]*\[")


def parse(text: bytes, separate: bytes = b"") -> Any:
    """Parse JSON. Lists of a long text may be :class:`Numbers`.

    Args:
        text: the JSON.
        separate: the name of a field with a list of images: each image may become
            :class:`Numbers`, and the list remains a list.

    Raises:
        ValueError: the text is not valid JSON.
        BadRequestError: much of it is neither a list of numbers nor a string.
    """
    return from_json(text) if len(text) <= _LONG_BYTES else _Reader(text, separate).document()


def total(text: bytes, byte: bytes) -> int:
    """Count a byte, and let other threads go on meanwhile."""
    starts = range(0, len(text), _COUNTED_BYTES)
    return sum(text.count(byte, start, start + _COUNTED_BYTES) for start in starts)


def has_numbers(value: Any) -> bool:
    """Whether a parsed document has :class:`Numbers` in the place of a list."""
    if isinstance(value, dict):
        return any(map(has_numbers, value.values()))
    if isinstance(value, list):
        return any(map(has_numbers, value))
    return isinstance(value, Numbers)


class _Reader:
    def __init__(self, text: bytes, separate: bytes) -> None:
        self._text = text
        self._separate = b'"%b"' % separate if separate else b""
        self._parts: list[tuple[bytes, int, int]] = []  # with the places that they replace
        self._taken: dict[str, Any] = {}
        self._secret = secrets.token_hex(8)  # so that no string of the client is one of ours
        self._depth = 0
        self._images_depth = 0
        self._left_bytes = _MOST_LEFT_BYTES

    def document(self) -> Any:
        """Read the text from one string to the next."""
        position = 0
        while position < len(self._text):
            quote = self._text.find(b'"', position)
            end = len(self._text) if quote < 0 else quote
            self._read_between(position, end)
            position = end if quote < 0 else self._read_string(quote)
        try:
            document = from_json(b"".join(part for part, _, _ in self._parts))
        except ValueError:
            return from_json(self._in_place())  # raises it with the right line and column
        return self._put_back(document)

    def _put_back(self, value: Any) -> Any:
        if isinstance(value, str):
            return self._taken.get(value, value)
        if isinstance(value, list):
            found = [self._put_back(each) for each in value]
            is_instead = len(value) == 1 and isinstance(value[0], str)
            return found[0] if is_instead and isinstance(found[0], Numbers) else found
        if isinstance(value, dict):
            return {self._put_back(name): self._put_back(each) for name, each in value.items()}
        return value

    def _take(self, value: Numbers | str, start: int, end: int) -> None:
        name = f"{self._secret} {len(self._taken)}"
        self._taken[name] = value
        # A list is replaced by a list, which is not valid as the name of a field either.
        instead = f'"{name}"' if isinstance(value, str) else f'["{name}"]'
        self._parts.append((instead.encode(), start, end))

    def _leave(self, start: int, end: int) -> None:
        for first in range(start, end, _COUNTED_BYTES):
            part = self._text[first : min(end, first + _COUNTED_BYTES)]
            self._left_bytes -= len(part.translate(None, _SPACES))
            if self._left_bytes < 0:
                begun = part[:_MOST_LEFT_BYTES]
                from_json(self._in_place() + begun, allow_partial=True)  # raises what is not valid
                raise BadRequestError(TOO_MUCH)
            self._depth += part.count(b"[") + part.count(b"{") - part.count(b"]") - part.count(b"}")
            self._parts.append((part, first, first + len(part)))

    def _in_place(self) -> bytes:
        """The text up to here without what was taken out, with every line and column kept."""
        parts = (
            part if len(part) == end - start else self._blank(part, start, end)
            for part, start, end in self._parts
        )
        return b"".join(parts)

    def _blank(self, beginning: bytes, start: int, end: int) -> bytes:
        """Spaces after a beginning, which end in the same line and column as a place."""
        lines = self._text.count(b"\n", start, end)
        if lines:
            last = self._text.rfind(b"\n", start, end)
            return beginning + b"\n" * lines + b" " * (end - last - 1)
        return beginning + b" " * (end - start - len(beginning))

    def _read_string(self, start: int) -> int:
        """Read a string, and return where it ends."""
        before, end = start + 1, start
        while end >= 0:
            end = self._text.find(b'"', before)
            segment = self._text[before : end if end >= 0 else None]
            before = end + 1
            if (len(segment) - len(segment.rstrip(b"\\"))) % 2 == 0:
                break
        end = len(self._text) if end < 0 else end + 1
        if end - start > _LONG_STRING_BYTES and self._is_usual(start + 1, end - 1):
            self._take(str(memoryview(self._text)[start + 1 : end - 1], "ascii"), start, end)
        else:
            self._parts.append((self._text[start:end], start, end))
        return end

    def _is_usual(self, start: int, end: int) -> bool:
        for first in range(start, end, _COUNTED_BYTES):
            part = self._text[first : min(end, first + _COUNTED_BYTES)]
            if len(part.translate(None, _UNUSUAL)) < len(part):
                return False
        return self._text[end : end + 1] == b'"'

    def _read_between(self, start: int, end: int) -> None:
        """Read what is between two strings: perhaps a field's list, or images one by one."""
        opening = _OPENING.match(self._text, start, end)
        if opening and self._separate and self._text.endswith(self._separate, 0, start):
            self._leave(start, opening.end())
            start, self._images_depth = opening.end(), self._depth
        elif opening and end - start > _LONG_BYTES:
            self._leave(start, opening.end() - 1)
            start = self._read_list(opening.end() - 1, end)
        while self._images_depth and end - start > _LONG_BYTES:
            first = self._text.find(b"[", start, end)
            if first < 0:
                break
            self._leave(start, first)
            start = first
            if self._depth == self._images_depth:
                start = self._read_list(first, end)
            if start == first:
                break
        self._leave(start, end)

    def _read_list(self, start: int, most: int) -> int:
        """Read a list that ends before ``most``, and take it if it is long.

        Returns:
            Where it ends; ``start`` if that is not before ``most``.
        """
        numbers = Numbers()
        position, opened = start, 0
        while True:
            end = self._cut(position, most, _LONG_BYTES if opened else _SHORT_LIST_BYTES)
            closed, still_open = self._close(position, end, opened)
            if closed is not None:
                end = closed
            elif end == most:
                if most == len(self._text):
                    raise self._error(start, position, opened)
                return start  # it has a string
            if not (opened or still_open):
                self._leave(start, end)
                return end
            fragment = self._fragment(position, end, opened, still_open)
            if fragment is None:
                raise self._error(start, position, opened)
            numbers.add(fragment, opened, still_open)
            if not still_open:
                if numbers.is_flat and len(numbers) <= _FEW_NUMBERS:
                    self._leave(start, end)  # a shape, perhaps with many spaces
                else:
                    self._take(numbers, start, end)
                return end
            position, opened = end + 1, still_open

    def _cut(self, start: int, most: int, length: int) -> int:
        """The last comma before a length, or else the first one behind it."""
        if start + length >= most:
            return most
        comma = self._text.rfind(b",", start, start + length)
        if comma < 0:
            comma = self._text.find(b",", start + length, most)
        return most if comma < 0 else comma

    def _close(self, start: int, end: int, opened: int) -> tuple[int | None, int]:
        """Find where the outermost open list ends, and how many are open at ``end`` otherwise."""
        signs = np.frombuffer(self._text, np.uint8, end - start, start)
        changes = (signs == ord("[")).view(np.int8) - (signs == ord("]")).view(np.int8)
        places = np.flatnonzero(changes)
        left = opened + np.cumsum(changes[places], dtype=np.int64)
        closed = np.flatnonzero(left == 0)
        if closed.size:
            return start + int(places[closed[0]]) + 1, 0
        return None, int(left[-1]) if left.size else opened

    def _fragment(self, start: int, end: int, opened: int, still_open: int) -> list[Any] | None:
        """Parse from after a comma to before one; None if it is not valid there."""
        text = self._text[start:end]
        signs = text.strip(_SPACES)
        if not signs or (opened and signs[:1] == b"]") or (still_open and signs[-1:] == b"["):
            return None
        depth = max(0, self._depth)
        try:
            parsed = from_json(b"[" * (depth + opened) + text + b"]" * (depth + still_open))
        except ValueError:
            return None
        for _ in range(depth):
            (parsed,) = parsed
        return parsed  # type: ignore[no-any-return]

    def _error(self, start: int, position: int, opened: int) -> ValueError:
        """The parser's error for what follows a place in a list that begins at ``start``."""
        valid = self._blank(b"[" * opened + b"0,", start, position) if opened else b""
        try:
            from_json(b"".join((self._in_place(), valid, self._text[position:])))
        except ValueError as error:
            return error
        return ValueError("a list is not valid")
