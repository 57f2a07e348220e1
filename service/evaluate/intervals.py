"""Shares and differences of shares, with their 95 % intervals."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Z_95 = 1.959963984540054


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1] with its 95 % interval.

    The interval is Wilson's by the number of images. The draws of one image are not independent of
    each other: they make the share smoother, but do not narrow the interval.
    """

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, shares: Iterable[float]) -> "Rate":
        """Return the mean of the images' shares, each in [0, 1].

        Raises:
            ValueError: the number of images is 0.
        """
        values = list(shares)
        if not values:
            raise ValueError("A rate needs at least one image.")
        low, high = wilson(sum(values), len(values))
        return cls(sum(values) / len(values), low, high)


@dataclass(frozen=True)
class Difference:
    """The difference of two shares of the same images, in [-1, 1], with its 95 % interval."""

    share: float
    low: float
    high: float


def wilson(successes: float, total: int) -> tuple[float, float]:
    """Return the 95 % interval of a share (Wilson 1927).

    Args:
        successes: how many succeeded, in [0, total]. A sum of shares is allowed.
        total: the number of trials, at least 1.

    Returns:
        (low, high) in [0, 1].
    """
    share = successes / total
    centre = share + Z_95**2 / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    scale = 1 + Z_95**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


def paired_difference(first: Sequence[float], second: Sequence[float]) -> Difference:
    """Return how much larger the share of the first is than that of the second.

    The interval is that of method 10 of Newcombe, Statistics in Medicine 17 (1998), 2635-2650: the
    Wilson intervals of both shares, corrected for the correlation of the pairs.

    Args:
        first: for each image the share of its answers that are right, in [0, 1].
        second: those of the same images in the same order. At least one.
    """
    total = len(first)
    pairs = list(zip(first, second, strict=True))
    both = sum(one * other for one, other in pairs)
    one_only = sum(first) - both
    other_only = sum(second) - both
    neither = total - both - one_only - other_only
    share_1, share_2 = sum(first) / total, sum(second) / total
    low_1, high_1 = wilson(sum(first), total)
    low_2, high_2 = wilson(sum(second), total)
    below_1, above_1, below_2, above_2 = (
        share_1 - low_1,
        high_1 - share_1,
        share_2 - low_2,
        high_2 - share_2,
    )
    phi = _correlation(both, one_only, other_only, neither)
    below = _joined(below_1, above_2, phi)
    above = _joined(above_1, below_2, phi)
    difference = share_1 - share_2
    return Difference(difference, max(-1.0, difference - below), min(1.0, difference + above))


def _correlation(both: float, one_only: float, other_only: float, neither: float) -> float:
    """Return the correlation of the pairs, with Newcombe's correction for few of them."""
    total = both + one_only + other_only + neither
    product = (
        (both + one_only) * (other_only + neither) * (both + other_only) * (one_only + neither)
    )
    if product <= 1e-12:  # all or none of one kind are right
        return 0.0
    determinant = both * neither - one_only * other_only
    if determinant > 0:
        determinant = max(0.0, determinant - total / 2)
    return determinant / math.sqrt(product)


def _joined(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one**2 - 2 * phi * one * other + other**2))
