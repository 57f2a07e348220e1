import numpy as np
import pytest

from service.evaluate.intervals import Rate, paired_difference, wilson


def pairs(both, first_only, second_only, neither):
    first = [1.0] * both + [1.0] * first_only + [0.0] * second_only + [0.0] * neither
    second = [1.0] * both + [0.0] * first_only + [1.0] * second_only + [0.0] * neither
    return first, second


@pytest.mark.parametrize(
    ("table", "difference", "low", "high"),
    [
        # Fagerland, Lydersen, Laake: Recommended tests and confidence intervals for paired
        # binomial proportions, Statistics in Medicine 33 (2014), the airway reactivity of children.
        ((1, 1, 7, 12), -0.286, -0.507, -0.026),
        # Newcombe's formulas by hand: without a discordant pair phi is 1 but for its correction.
        ((190, 0, 0, 10), 0.0, -0.0195, 0.0195),
    ],
)
def test_the_interval_of_a_difference_is_newcombe_s(table, difference, low, high):
    found = paired_difference(*pairs(*table))
    assert (found.share, found.low, found.high) == pytest.approx((difference, low, high), abs=5e-4)


def test_the_interval_is_the_same_from_the_other_side():
    one, other = pairs(150, 20, 5, 25)
    there, back = paired_difference(one, other), paired_difference(other, one)
    assert (back.share, back.low, back.high) == pytest.approx(
        (-there.share, -there.high, -there.low)
    )


def test_pairs_that_agree_have_a_narrower_interval_than_others():
    """The same shares: the pairs are what makes the difference."""
    together = paired_difference(*pairs(170, 10, 0, 20))
    apart = paired_difference(*pairs(153, 27, 17, 3))
    assert together.share == pytest.approx(apart.share)
    assert together.high - together.low < 0.7 * (apart.high - apart.low)


def test_nineteen_of_twenty_intervals_have_the_true_difference():
    """Simulated: 150 images, of which 8 % change from right to wrong and 3 % back."""
    generator = np.random.default_rng(0)
    covered = 0
    for table in generator.multinomial(150, (0.84, 0.08, 0.03, 0.05), size=2000):
        found = paired_difference(*pairs(*table.tolist()))
        covered += found.low <= 0.05 <= found.high
    assert 0.93 < covered / 2000 < 0.985


@pytest.mark.parametrize("table", [(20, 0, 0, 0), (0, 20, 0, 0), (0, 0, 20, 0), (0, 0, 0, 20)])
def test_the_ends_are_within_one(table):
    found = paired_difference(*pairs(*table))
    assert -1 <= found.low <= found.share <= found.high <= 1
    assert found.low < found.high


def test_a_rate_has_wilson_s_interval():
    assert Rate.of([1.0] * 81 + [0.0] * 182) == Rate(81 / 263, *wilson(81, 263))
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=6e-5)
