"""What the paper counts: first hits, and the rounds until so many of them."""

import pytest

from harness.reproduce.by_round import attack_of, first_success_rate, rounds_to
from harness.reproduce.scale import SCALES
from harness.results import AttackRecord, DatasetRecord, EndpointRecord, ImageResult, Run, Score


@pytest.fixture
def run():
    """Ten images, hit after these rounds of a hundred; None was never hit."""
    hits = [3, 3, 5, 8, 13, 21, 34, 55, None, None]
    return Run(
        name="run",
        created="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        versions={},
        attack=AttackRecord(
            name="semi-brute-force",
            summary="",
            reference="",
            parameters={"rounds": 100},
            norm="l2",
            epsilon=0.05,
            targeted=True,
        ),
        endpoint=EndpointRecord(
            url="http://x",
            model="m",
            model_sha256=None,
            defense="fd+rdg",
            protocol="v2",
            quantized=False,
        ),
        surrogate=None,
        dataset=DatasetRecord(name="d", candidates=10, selected=10),
        seed=0,
        scoring_draws=1,
        images=tuple(
            ImageResult(
                file=f"{number}.png",
                sha256="",
                label=1,
                target=2,
                scores=(Score(round=0, classes=(1,), l2_rms=0, linf=0),),
                gradients=0,
                queries=0,
                seconds=0,
                first_success_round=hit,
            )
            for number, hit in enumerate(hits)
        ),
    )


def test_the_rounds_to_a_share_are_those_of_the_image_that_completes_it(run):
    assert rounds_to(run, 0.1) == "3"
    assert rounds_to(run, 0.3) == "5"
    assert rounds_to(run, 0.5) == "13"
    assert rounds_to(run, 0.8) == "55"
    assert rounds_to(run, 0.9) == "100+"


def test_the_hits_until_a_round_count(run):
    assert first_success_rate(run, 0).share == 0
    assert first_success_rate(run, 5).share == 0.3
    assert first_success_rate(run, 50).share == pytest.approx(0.7)
    assert first_success_rate(run, 100).share == pytest.approx(0.8)


def test_the_papers_loop_is_one_raw_step_a_round_until_the_first_hit():
    class Reproducer:
        scale = SCALES["cpu"]

    assert attack_of("bpda", "fd", Reproducer, 50) == (
        "bpda(rounds=50,rule=raw,step=0.1,early_stop=true)"
    )
    # Only what has no derivative is taken for the identity.
    assert attack_of("bpda-eot", "fd+rdg", Reproducer, 50).startswith("bpda-eot(rounds=50,draws=4,")
    assert attack_of("bpda-eot", "rand", Reproducer, 50).startswith("adaptive(rounds=50,draws=4,")
