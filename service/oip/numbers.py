"""The numbers of a long list of JSON, which come in fragments and are kept as arrays."""

import math
from itertools import chain, count
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Level:
    """What is known of the lists of one depth. Level 0 is the whole list alone.

    Attributes:
        lengths: the lengths of these lists, without one that is not finished.
        first: the length of the first of them; None while it is not finished.
        elements: how many elements all of them have.
    """

    def __init__(self) -> None:
        self.lengths: set[int] = set()
        self.first: int | None = None
        self.elements = 0
        self._unfinished = 0

    def add(self, lists: list[Any], continues: int, goes_on: bool) -> list[Any]:
        """Add the lists of this depth in one fragment, and return their elements.

        Args:
            lists: the lists.
            continues: 1 if the first list is the rest of an unfinished one; 2 if the first element
                of that rest is such a rest, too; else 0.
            goes_on: whether the last list is not finished.
        """
        lengths = list(map(len, lists))
        again = 1 if continues > 1 else 0  # an element that was counted with its first part
        if continues:
            lengths[0] += self._unfinished - again
        if goes_on:
            self._unfinished = lengths.pop()
        if self.first is None and lengths:
            self.first = lengths[0]
        self.lengths.update(lengths)
        elements = list(chain.from_iterable(lists))
        self.elements += len(elements) - again
        return elements


class Numbers:
    """A long list, perhaps of lists: its numbers in row-major order, and how they are nested.

    Attributes:
        levels: the lists by depth.
        is_flat: whether the first element is not a list.
        shallowest: the number of lists around the least nested element that is not a list.
        has_floats: whether one of the numbers has a fraction or an exponent.
        are_bytes: whether all elements are integers in [0, 255].
        low: the least of the numbers; a NaN if one of them is.
        high: the greatest of the numbers, likewise.
    """

    def __init__(self) -> None:
        self.levels: list[Level] = []
        self.is_flat = True
        self.shallowest: float = math.inf
        self.has_floats = False
        self.are_bytes = True
        self.low, self.high = np.float64(math.inf), np.float64(-math.inf)
        self._depths: set[int] = set()
        self._are_numbers = True
        self._parts: list[NDArray[Any]] = []

    def add(self, fragment: list[Any], continues: int, goes_on: int) -> None:
        """Add a fragment of the list.

        Args:
            fragment: the elements, within as many lists as ``continues`` has.
            continues: how many lists, one in the other, began in an earlier fragment.
            goes_on: how many do not end in this fragment.
        """
        if not self.levels:
            self.is_flat = not fragment or not isinstance(fragment[0], list)
        elements: list[Any] = [fragment]
        for depth in count():
            if depth == len(self.levels):
                self.levels.append(Level())
            elements = self.levels[depth].add(
                elements, max(0, min(2, continues - depth)), goes_on > depth
            )
            kinds = set(map(type, elements))
            if kinds != {list}:
                self._add_elements(elements, kinds, depth + 1)
                return

    def __len__(self) -> int:
        """The length of the outermost list."""
        return self.levels[0].elements

    def are_nested(self, depth: int) -> bool:
        """Whether all elements are numbers with so many lists around them."""
        return self._are_numbers and self._depths == {depth}

    def array(self, dtype: type[np.uint8 | np.float32]) -> NDArray[Any]:
        """The numbers, if they are :attr:`are_bytes` or in [0, 1]."""
        array = np.concatenate([part.astype(dtype, copy=False) for part in self._parts])
        self._parts = [array]
        return array

    def _add_elements(self, elements: list[Any], kinds: set[type], depth: int) -> None:
        self._depths.add(depth)
        if elements:
            self.shallowest = min(self.shallowest, depth)
        self.has_floats |= float in kinds
        if not kinds <= {int, float}:
            self._are_numbers = False
        if not self._are_numbers or len(self._depths) > 1:
            self._parts.clear()
            return
        if not elements:
            return
        try:
            part = _as_array(elements, kinds)
        except OverflowError:  # an integer that is too large for a float
            self._are_numbers = self.are_bytes = False
            return
        self.are_bytes &= part.dtype == np.uint8
        self.low = np.minimum(self.low, np.float64(part.min()))
        self.high = np.maximum(self.high, np.float64(part.max()))
        if self.are_bytes or (self.low >= 0 and self.high <= 1):
            self._parts.append(part if part.dtype == np.uint8 else part.astype(np.float32))
        else:
            self._parts.clear()


def _as_array(elements: list[Any], kinds: set[type]) -> NDArray[Any]:
    """As uint8 if all are integers in [0, 255], else as float64."""
    if kinds == {int}:
        try:
            return np.frombuffer(bytes(elements), np.uint8)
        except (ValueError, OverflowError):
            pass
    return np.array(elements, np.float64)
