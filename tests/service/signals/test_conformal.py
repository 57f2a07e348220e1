"""The arithmetic of a threshold with a promise."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.signals.conformal import as_rate, least_images, p_value, rate_interval, threshold

SCORES = st.lists(st.floats(0, 2).map(lambda value: round(value, 2)), min_size=1, max_size=150)
RATES = st.fractions(Fraction(1, 200), Fraction(1, 2), max_denominator=1000)


@pytest.mark.parametrize(
    ("text", "images"), [("0.01", 99), ("0.05", 19), ("0.1", 9), ("0.03", 33), ("0.5", 1)]
)
def test_a_promise_needs_images(text, images):
    rate = as_rate(text)
    assert least_images(rate) == images
    scores = list(range(images))
    assert threshold(scores, rate) == images - 1
    with pytest.raises(ValueError, match=f"{images - 1} images are too few; {images} are needed"):
        threshold(scores[1:], rate)


@pytest.mark.parametrize("text", ["0", "1", "-0.1", "1.5", "nan", "inf", "much", "", "1/0"])
def test_a_rate_is_between_0_and_1(text):
    with pytest.raises(ValueError, match="not a number above 0 and below 1"):
        as_rate(text)


def test_a_rate_is_as_exact_as_it_is_written():
    """0.29 x 100 is a little less than 29 in floating point."""
    assert threshold(list(range(99)), as_rate("0.29")) == 99 - 29


@given(SCORES, st.floats(0, 2), RATES)
def test_beyond_the_threshold_a_p_value_is_at_most_the_rate(scores, score, rate):
    rate = max(rate, Fraction(1, len(scores) + 1))
    exact = Fraction(round(p_value(scores, score) * (len(scores) + 1)), len(scores) + 1)
    assert (score > threshold(scores, rate)) == (exact <= rate)


@given(st.lists(st.integers(0, 60), min_size=2, max_size=120), RATES)
def test_whichever_image_is_the_new_one_at_most_the_rate_is_flagged(scores, rate):
    """The promise itself: each of n + 1 images is as likely as the others to be the new one."""
    rate = max(rate, Fraction(1, len(scores)))
    flagged = 0
    for new, score in enumerate(scores):
        rest = scores[:new] + scores[new + 1 :]
        flagged += score > threshold(rest, rate)
    assert flagged <= rate * len(scores)
    if len(set(scores)) == len(scores):
        assert flagged == int(rate * len(scores))


def test_the_interval_has_19_of_20_thresholds():
    images, rate = 150, Fraction(1, 50)
    low, high = rate_interval(images, rate)
    generator = np.random.default_rng(0)
    beyond = [1 - threshold(list(generator.random(images)), rate) for _ in range(4000)]
    inside = np.mean([(low < each) & (each < high) for each in beyond])
    assert inside == pytest.approx(0.95, abs=0.015)
    assert np.mean(beyond) == pytest.approx(3 / 151, rel=0.05)
