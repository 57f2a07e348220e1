"""A second attack by score, whose changes have nothing in common with Square's.

ART's SimBA is not used: it draws from numpy's global generator, posts both signs of every direction
even if the first one helps, has no budget, and keeps the score of a lucky draw.
"""

from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np

from harness.attacks.attack import Attacker
from harness.attacks.score_search import ScoreSearch, Search
from harness.types import Pixels


@dataclass(frozen=True, kw_only=True)
class Simba(ScoreSearch):
    """Try one direction after the other, forwards and then backwards, and keep each that helps.

    The directions are orthonormal and come in a random order, each once before any comes again:
    the low frequencies of the cosine transform, or single values. The paper tries the next
    direction without posting backwards if forwards has helped, and so does this.

    Attributes:
        basis: ``dct`` has the cosine waves of one channel, ``pixel`` has single values.
        frequencies: the lowest fraction of the frequencies on each axis, which ``dct`` uses.
        step: the root mean square of one change, as in ``adaptive``. The paper's 0.2 is the root of
            the sum of squares, which is 0.0004 at 299 px. It needs ten thousands of queries, and
            8 bits round it away.
    """

    name: ClassVar[str] = "simba"
    summary: ClassVar[str] = "Waves or pixels one by one, by the endpoint's probabilities alone"
    reference: ClassVar[str] = "Guo et al. 2019, arXiv:1905.07121"

    basis: Literal["dct", "pixel"] = "dct"
    frequencies: float = 1 / 8
    step: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.frequencies <= 1, "frequencies", "in (0, 1]")
        self._require(0 < self.step < np.inf, "step", "positive and finite")

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack with another budget, and with its step scaled by the same factor."""
        return replace(self, epsilon=epsilon, step=self.step * epsilon / self.epsilon)

    def start(self, search: Search) -> Pixels:
        """Return the photograph itself."""
        return search.case.image

    def candidate(self, search: Search, attacker: Attacker) -> Pixels:
        """Return the incumbent, changed along one direction. Odd numbers are backwards."""
        number, backwards = divmod(search.tried, 2)
        direction = self._direction(search, number, attacker)
        length = self.step * float(np.sqrt(direction.size))
        change = np.float32(-length if backwards else length) * direction
        return self.budget.project(search.case.image, search.incumbent + change)

    def accepted(self, search: Search) -> None:
        """Go on to the next direction, also if only forwards was tried."""
        search.tried += search.tried % 2

    def _direction(self, search: Search, number: int, attacker: Attacker) -> Pixels:
        """Return a direction of length 1. The order depends on nothing but seed and photograph."""
        shape = search.case.image.shape
        sides = [
            max(round(side * self.frequencies), 1) if self.basis == "dct" else side
            for side in shape[:2]
        ]
        count = sides[0] * sides[1] * shape[2]
        cycle, place = divmod(number, count)
        order = attacker.numpy_random(search.case, -1 - cycle).permutation(count)
        row, column, channel = np.unravel_index(order[place], (*sides, shape[2]))
        direction = np.zeros(shape, np.float32)
        if self.basis == "dct":
            direction[:, :, channel] = np.outer(
                _wave(int(row), shape[0]), _wave(int(column), shape[1])
            )
        else:
            direction[row, column, channel] = 1
        return direction


def _wave(frequency: int, length: int) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Return one vector of the orthonormal discrete cosine transform (type 2)."""
    places = np.arange(length) + 0.5
    wave = np.cos(np.pi * frequency * places / length)
    scaled: np.ndarray[tuple[int], np.dtype[np.float64]] = wave / np.linalg.norm(wave)
    return scaled
