"""A threshold with a promise: of further images like the given ones, at most a share is beyond it.

Split-conformal p-values: Bates et al., Testing for Outliers with Conformal p-values, 2023,
arXiv:2104.08279. The promise holds on average over the choice of the images, and only for images
that could have been among them. So it says nothing about an attacker's images.
"""

import math
from bisect import bisect_left
from collections.abc import Sequence
from fractions import Fraction

_STEPS = 60


def as_rate(text: str) -> Fraction:
    """Read a share, exactly as it is written: 0.07 x 100 is 7, and not a little more.

    Raises:
        ValueError: it is not a number above 0 and below 1.
    """
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 0 < rate < 1:
        raise ValueError(f"{text!r} is not a number above 0 and below 1")
    return rate


def least_images(rate: Fraction) -> int:
    """Return how many images a promise needs.

    >>> least_images(Fraction("0.01")), least_images(Fraction("0.05")), least_images(Fraction(2, 3))
    (99, 19, 1)
    """
    return math.ceil(1 / rate) - 1


def p_value(scores: Sequence[float], score: float) -> float:
    """Return the share of the images, with the new one among them, that score as high or higher.

    >>> p_value([1.0, 2.0, 3.0], 2.5)
    0.5
    """
    ordered = sorted(scores)
    return (1 + len(ordered) - bisect_left(ordered, score)) / (1 + len(ordered))


def threshold(scores: Sequence[float], rate: Fraction) -> float:
    """Return the score beyond which a p-value is at most a rate.

    Args:
        scores: of the images, in any order.
        rate: above 0 and below 1.

    Raises:
        ValueError: there are fewer than :func:`least_images`.

    >>> threshold([0.1 * number for number in range(99)], Fraction("0.02"))
    9.700000000000001
    """
    beyond = math.floor(rate * (len(scores) + 1))
    if beyond < 1:
        raise ValueError(f"{len(scores)} images are too few; {least_images(rate)} are needed")
    return sorted(scores, reverse=True)[beyond - 1]


def rate_interval(images: int, rate: Fraction, confidence: float = 0.95) -> tuple[float, float]:
    """Return between which rates the threshold of some images really is, at a confidence.

    With other images the threshold would be another one, and so would the share that is beyond it:
    for scores without ties that share has a beta distribution, with the rate as its mean.

    >>> low, high = rate_interval(99, Fraction("0.01"))
    >>> round(low, 4), round(high, 3)
    (0.0003, 0.037)
    """
    beyond = math.floor(rate * (images + 1))
    tail = (1 - confidence) / 2
    return _beta_quantile(tail, beyond, images), _beta_quantile(1 - tail, beyond, images)


def _beta_quantile(probability: float, beyond: int, images: int) -> float:
    """Return a quantile of Beta(beyond, images + 1 - beyond), by halving."""
    low, high = 0.0, 1.0
    for _ in range(_STEPS):
        middle = (low + high) / 2
        # The beta distribution is at most x if, of as many uniform numbers, `beyond` are.
        fewer = sum(_binomial(images, count, middle) for count in range(beyond))
        low, high = (middle, high) if 1 - fewer < probability else (low, middle)
    return low


def _binomial(images: int, count: int, rate: float) -> float:
    """Return the probability that exactly ``count`` of some images happen at a rate."""
    log = math.lgamma(images + 1) - math.lgamma(count + 1) - math.lgamma(images - count + 1)
    return math.exp(log + count * math.log(rate) + (images - count) * math.log1p(-rate))
