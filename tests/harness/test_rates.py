"""Rates and intervals from the scores of runs."""

import pytest
from scipy.stats import binomtest

from harness.rates import (
    Rate,
    accuracy,
    rates,
    score_at,
    scored_rounds,
    success_share,
    wilson,
    worst_case,
)
from harness.results import (
    AttackRecord,
    DatasetRecord,
    EndpointRecord,
    ImageResult,
    Run,
    Score,
)

LABEL, TARGET, OTHER = 1, 2, 3


def score(round_, classes, l2_rms=0.01, linf=0.02):
    return Score(round=round_, classes=tuple(classes), l2_rms=l2_rms, linf=linf)


def image(file, scores, target=TARGET):
    return ImageResult(
        file=file,
        sha256="0" * 64,
        label=LABEL,
        target=target,
        scores=tuple(scores),
        gradients=0,
        queries=0,
        seconds=0.0,
    )


def run_of(*images):
    return Run(
        name="run",
        created="2026-01-01T00:00:00+00:00",
        seconds=1.0,
        versions={},
        attack=AttackRecord(
            name="a",
            summary="",
            reference="",
            parameters={},
            norm="l2",
            epsilon=0.05,
            targeted=images[0].target is not None if images else True,
        ),
        endpoint=EndpointRecord(
            url="", model="m", model_sha256=None, defense="fd", protocol="oip", quantized=True
        ),
        surrogate=None,
        dataset=DatasetRecord(name="d", candidates=len(images), selected=len(images)),
        seed=0,
        scoring_draws=4,
        images=images,
    )


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),  # Newcombe 1998, Table I
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (19, 20, 0.7639, 0.9911),
        (0, 50, 0.0, 0.0713),
        (50, 50, 0.9287, 1.0),
    ],
)
def test_intervals_are_those_of_newcombe_and_of_scipy(successes, total, low, high):
    assert wilson(successes, total) == pytest.approx((low, high), abs=6e-5)
    reference = binomtest(successes, total).proportion_ci(method="wilson")
    assert wilson(successes, total) == pytest.approx((reference.low, reference.high), abs=1e-12)


def test_the_interval_is_by_images_and_not_by_draws():
    assert Rate.of([0.5] * 20) == Rate(0.5, *wilson(10, 20))


def test_a_rate_needs_an_image():
    with pytest.raises(ValueError, match="at least one image"):
        Rate.of([])


def test_rates_are_the_mean_any_and_majority_of_the_draws():
    found = rates(
        run_of(
            image("all", [score(0, [LABEL] * 4), score(9, [TARGET] * 4, l2_rms=0.03, linf=0.1)]),
            image("half", [score(0, [LABEL] * 4), score(9, [TARGET, TARGET, LABEL, OTHER])]),
            image("one", [score(0, [LABEL] * 4), score(9, [TARGET, LABEL, LABEL, LABEL])]),
            image("none", [score(0, [LABEL] * 4), score(9, [OTHER] * 4)]),
        )
    )
    assert found.asr.share == pytest.approx((1 + 0.5 + 0.25 + 0) / 4)
    assert found.acc.share == pytest.approx((0 + 0.25 + 0.75 + 0) / 4)
    assert found.any.share == 0.75
    assert found.majority.share == 0.25  # half of the draws is not a majority
    assert found.l2_rms == pytest.approx((0.03 + 3 * 0.01) / 4)
    assert found.linf == pytest.approx((0.1 + 3 * 0.02) / 4)


def test_round_0_has_the_rates_of_the_clean_images():
    run = run_of(image("x", [score(0, [LABEL, LABEL, TARGET, OTHER]), score(1, [TARGET] * 4)]))
    clean = rates(run, 0)
    assert (clean.acc.share, clean.asr.share, clean.any.share) == (0.5, 0.25, 1.0)
    assert clean.majority.share == 0.0


def test_without_a_target_every_wrong_class_is_a_success():
    one = image("x", [score(0, [LABEL, TARGET, OTHER, LABEL])], target=None)
    assert success_share(one, one.scores[0]) == accuracy(one, one.scores[0]) == 0.5


def test_an_image_that_stopped_early_keeps_its_last_score():
    early = image("early", [score(0, [LABEL] * 4), score(3, [TARGET] * 4)])
    late = image("late", [score(0, [LABEL] * 4), score(5, [OTHER] * 4), score(10, [LABEL] * 4)])
    run = run_of(early, late)
    assert score_at(early, 10).round == 3
    assert score_at(early, 2).round == 0
    assert scored_rounds(run) == (0, 3, 5, 10)
    assert rates(run) == rates(run, 10)
    assert rates(run, 2).asr.share == 0.0
    assert rates(run, 3).asr.share == 0.5
    assert rates(run).acc.share == 0.5  # of round 10, though the first image ended in round 3


def test_the_worst_case_takes_each_image_from_its_best_attack():
    strong_on_a = run_of(
        image("a", [score(0, [LABEL] * 4), score(1, [TARGET] * 4, l2_rms=0.04)]),
        image("b", [score(0, [LABEL] * 4), score(1, [LABEL] * 4)]),
    )
    strong_on_b = run_of(
        image("b", [score(0, [LABEL] * 4), score(1, [TARGET, TARGET, TARGET, LABEL], l2_rms=0.02)]),
        image("a", [score(0, [LABEL] * 4), score(1, [LABEL] * 4)]),
    )
    worst = worst_case([strong_on_a, strong_on_b])
    assert worst.asr.share == pytest.approx((1 + 0.75) / 2)
    assert worst.acc.share == pytest.approx((0 + 0.25) / 2)
    assert worst.majority.share == 1.0
    assert worst.l2_rms == pytest.approx(0.03)
    assert worst_case([strong_on_a]) == rates(strong_on_a)


def test_the_worst_cases_of_acc_and_asr_may_come_from_different_attacks():
    to_other = run_of(image("a", [score(0, [LABEL] * 4), score(1, [OTHER] * 4)]))
    to_target = run_of(image("a", [score(0, [LABEL] * 4), score(1, [TARGET, LABEL] * 2)]))
    worst = worst_case([to_other, to_target])
    assert (worst.acc.share, worst.asr.share) == (0.0, 0.5)


def test_the_worst_case_counts_only_images_of_all_runs():
    clean = [score(0, [LABEL] * 4)]
    both = worst_case(
        [run_of(image("a", clean), image("b", clean)), run_of(image("b", clean), image("c", clean))]
    )
    assert both.acc == Rate.of([1.0])


@pytest.mark.parametrize("files", [[], [["a"], ["b"]]])
def test_the_worst_case_needs_a_common_image(files):
    runs = [run_of(*(image(f, [score(0, [LABEL] * 4)]) for f in some)) for some in files]
    with pytest.raises(ValueError, match="at least one image"):
        worst_case(runs)
