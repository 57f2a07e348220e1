"""The run-length coding of BMP: a file with it, as a file without it.

Pillow decodes runs in Python, one by one. Here numpy decodes a block of them. All codes are pairs
of bytes:

    n v     n pixels of the value v; of 4 bits, the halves of v take turns
    0 0     the next row
    0 1     the end
    0 2     skip as many pixels and rows as the next pair says; they have the value 0
    0 n     n pixels, which follow literally, padded to a whole pair
"""

import struct

import numpy as np
from numpy.typing import NDArray

from service.errors import BadImageError

_BLOCK_PAIRS = 1 << 14
_MOST_ESCAPES = 1_000_000
_END, _SKIP = 1, 2

_Integers = NDArray[np.int64]


def expand(body: bytes, bits: int) -> bytes:
    """Decode the rows of a file.

    Args:
        body: the file, whose header was checked.
        bits: 8 or 4 bits for each pixel.

    Returns:
        A file with the same palette and 8 bits for each pixel, which are not coded.

    Raises:
        BadImageError: the rows end too early, or have too many literal runs and skips.
    """
    offset, header = struct.unpack_from("<II", body, 10)
    width, height = struct.unpack_from("<ii", body, 18)
    (colours,) = struct.unpack_from("<I", body, 46)
    colours = colours or 1 << bits
    palette_end = 14 + header + 4 * colours
    rows = _Rows(body[offset or palette_end :], bits, width, abs(height)).decode()
    padded = np.pad(rows, ((0, 0), (0, -width % 4)))
    head = bytearray(body[:palette_end].ljust(palette_end, b"\0"))
    struct.pack_into("<I", head, 10, palette_end)
    struct.pack_into("<HI", head, 28, 8, 0)
    struct.pack_into("<I", head, 46, colours)
    return bytes(head) + padded.tobytes()


class _Rows:
    """The decoder of one file's rows, with its place in the codes and in the pixels."""

    def __init__(self, codes: bytes, bits: int, width: int, height: int) -> None:
        self._bytes = np.frombuffer(codes, np.uint8)
        self._pairs = self._bytes[: len(codes) // 2 * 2].reshape(-1, 2)
        self._bits = bits
        self._width, self._height = width, height
        self._pixels = np.zeros(width * height, np.uint8)
        self._pair = self._pixel = self._x = self._escapes = 0
        self._ended = False

    def decode(self) -> NDArray[np.uint8]:
        """Decode all rows."""
        while not self._ended and self._pixel < len(self._pixels):
            if self._pair >= len(self._pairs):
                raise BadImageError("This BMP file is cut short or corrupted: it lacks pixels.")
            self._decode_block()
        return self._pixels.reshape(self._height, self._width)

    def _decode_block(self) -> None:
        """Decode the next codes, each of which paints some pixels, one behind the other."""
        where, passed = self._find_codes()
        first, values = self._pairs[where, 0], self._pairs[where, 1]
        is_row = (first == 0) & (values == 0)
        across = first.astype(np.int64)
        literal = np.flatnonzero((first == 0) & (values > _SKIP))
        across[literal] = values[literal]
        skip = np.flatnonzero((first == 0) & (values == _SKIP))
        skipped = self._pairs[np.minimum(where[skip] + 1, len(self._pairs) - 1)].astype(np.int64)
        across[skip] = skipped[:, 0]

        moved = self._x + np.cumsum(across)
        # A row's end takes back all that was moved until then.
        back = np.concatenate(([0], np.maximum.accumulate(np.where(is_row, moved, 0))[:-1]))
        x_before = np.minimum(moved - across - back, self._width)
        x_after = np.where(is_row, self._width, np.minimum(moved - back, self._width))
        lengths = x_after - x_before
        lengths[skip] += self._width * skipped[:, 1]
        ends = np.minimum(self._pixel + np.cumsum(lengths), len(self._pixels))
        starts = np.concatenate(([self._pixel], ends[:-1]))
        self._paint_runs(starts, ends - starts, np.where(first > 0, values, 0).astype(np.uint8))
        self._paint_literals(starts[literal], (ends - starts)[literal], 2 * where[literal] + 2)

        self._x = 0 if is_row[-1] else min(int(moved[-1] - back[-1]), self._width)
        self._pixel = int(ends[-1])
        self._pair += passed

    def _find_codes(self) -> tuple[_Integers, int]:
        """Find which of the next pairs are codes, and not literal pixels; and how many to pass."""
        if self._x == self._width:  # what does not fit into the row paints nothing
            is_escape = self._pairs[self._pair : self._pair + _BLOCK_PAIRS, 0] == 0
            self._pair += int(is_escape.argmax()) if is_escape.any() else len(is_escape) - 1
        block = self._pairs[self._pair : self._pair + _BLOCK_PAIRS]
        escapes = np.flatnonzero((block[:, 0] == 0) & (block[:, 1] > 0))
        kinds = block[escapes, 1]
        is_code = np.ones(len(block), np.bool_)
        end = 0
        for i, kind in zip(escapes.tolist(), kinds.tolist(), strict=True):
            if i < end:
                continue
            if kind == _END:
                self._ended = True
                is_code[i + 1 :] = False
                break
            end = i + 2 if kind == _SKIP else i + 1 - -kind * self._bits // 16
            is_code[i + 1 : end] = False
            self._escapes += 1
        if self._escapes > _MOST_ESCAPES:
            raise BadImageError(f"This BMP file has more than {_MOST_ESCAPES} literal runs.")
        return self._pair + np.flatnonzero(is_code), max(end, len(block))

    def _paint_runs(self, starts: _Integers, lengths: _Integers, values: NDArray[np.uint8]) -> None:
        painted = np.repeat(values, lengths)
        begin = int(starts[0])
        if self._bits == 4:
            is_odd = np.resize(np.array((begin & 1, ~begin & 1), np.uint8), len(painted))
            is_odd ^= np.repeat((starts & 1).astype(np.uint8), lengths)
            painted = np.where(is_odd, painted & 15, painted >> 4)
        self._pixels[begin : begin + len(painted)] = painted

    def _paint_literals(self, starts: _Integers, lengths: _Integers, sources: _Integers) -> None:
        """Paint literal pixels, each from its place in the codes, counted in bytes."""
        inside = np.arange(int(lengths.sum())) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        byte = np.repeat(sources, lengths) + inside * self._bits // 8
        values = self._bytes[np.minimum(byte, len(self._bytes) - 1)]
        if self._bits == 4:
            values = np.where(inside & 1, values & 15, values >> 4)
        self._pixels[np.repeat(starts, lengths) + inside] = values
