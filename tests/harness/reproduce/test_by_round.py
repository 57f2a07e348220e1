"""The paper's measures: first successes, and the rounds until a share of the images has one."""

from types import SimpleNamespace

import pytest

from harness.reproduce.by_round import attack_of, first_success_rate, rounds_to
from harness.reproduce.scale import SCALES


@pytest.fixture
def run(make_run):
    """Ten images, each with the round of its first success in a hundred rounds."""
    first_successes = [3, 3, 5, 8, 13, 21, 34, 55, None, None]
    return make_run("semi-brute-force(rounds=100)", "fd+rdg", first_successes)


def test_the_rounds_to_a_share_end_with_the_image_that_completes_it(run):
    assert rounds_to(run, 0.1) == "3"
    assert rounds_to(run, 0.3) == "5"
    assert rounds_to(run, 0.5) == "13"
    assert rounds_to(run, 0.8) == "55"
    assert rounds_to(run, 0.9) == "100+"


def test_first_successes_count_from_their_round_on(run):
    assert first_success_rate(run, 0).share == 0
    assert first_success_rate(run, 5).share == 0.3
    assert first_success_rate(run, 50).share == pytest.approx(0.7)
    assert first_success_rate(run, 100).share == pytest.approx(0.8)


def test_the_papers_loop_is_one_raw_step_a_round_until_the_first_success():
    reproducer = SimpleNamespace(scale=SCALES["cpu"])
    assert attack_of("bpda", "fd", reproducer, 50) == (
        "bpda(rounds=50,rule=raw,step=0.1,early_stop=true)"
    )
    # A defence with a derivative is not taken for the identity.
    assert attack_of("bpda-eot", "fd+rdg", reproducer, 50).startswith("bpda-eot(rounds=50,draws=4,")
    assert attack_of("bpda-eot", "rand", reproducer, 50).startswith("adaptive(rounds=50,draws=4,")
