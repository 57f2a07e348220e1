"""The check that an endpoint answers as a copy of its model does."""

import numpy as np
import pytest

from defenses import Pipeline
from harness.errors import EndpointError, HiddenProbabilitiesError
from harness.results import Check, ImageResult, Score
from harness.runs.endpoint_check import endpoint_check, with_assumptions
from harness.types import Case

LABELS = (0, 1, 2, 1, 0, 2)


class Model:
    """A model that gives the label of an image a probability around a mean."""

    def __init__(self, defense, mean=0.8, spread=0.0, seed=0, hides=False):
        self.defense = Pipeline.parse(defense)
        self.mean, self.spread, self.hides = mean, spread, hides
        self.random = np.random.default_rng(seed)

    def probabilities(self, images, _draws=1):
        if self.hides:
            raise HiddenProbabilitiesError("hidden")
        labels = [
            int(np.rint(image.mean() * 2 / (255 if image.dtype == np.uint8 else 1)))
            for image in images
        ]
        values = np.empty((len(images), 3), np.float32)
        for row, label in zip(values, labels, strict=True):
            own = np.clip(self.mean + self.spread * self.random.normal(), 0, 1)
            row[:] = (1 - own) / 2
            row[label] = own
        return values

    def classes(self, images):
        hides, self.hides = self.hides, False
        classes = self.probabilities(images).argmax(axis=1)
        self.hides = hides
        return classes


def case(label):
    return Case(f"{label}.png", np.full((8, 8, 3), label / 2, np.float32), label, None)


CASES = [case(label) for label in LABELS]


def check(victim, copy, answered=LABELS, quantized=True):
    results = [
        ImageResult(
            file=each.file,
            sha256="",
            label=each.label,
            target=None,
            scores=(Score(round=0, classes=(answer,), l2_rms=0, linf=0),),
            gradients=0,
            queries=0,
            seconds=0,
        )
        for each, answer in zip(CASES, answered, strict=True)
    ]
    return endpoint_check(victim, copy, CASES, results, quantized=quantized)


@pytest.mark.parametrize("quantized", [True, False])
def test_equal_answers_behind_a_fixed_defence_pass(quantized):
    assert check(Model("fd"), Model("fd"), quantized=quantized).passed
    assert check(Model("none", hides=True), Model("none")).passed


def test_other_probabilities_behind_a_fixed_defence_fail():
    checked = check(Model("none", mean=0.79), Model("none"))
    assert checked.passed is False
    assert "differ by up to 0.01 (wanted: at most 0.001)" in checked.detail
    assert checked.measured["largest_difference"] == pytest.approx(0.01, abs=1e-6)


@pytest.mark.parametrize("hides", [False, True])
def test_another_class_behind_a_fixed_defence_fails(hides):
    checked = check(Model("none", hides=hides), Model("none"), answered=(0, 1, 2, 1, 0, 1))
    assert checked.passed is False
    assert "the class of 1 of 6 clean photographs differs" in checked.detail


def test_either_of_two_equally_probable_classes_passes():
    even = 1 / 3
    assert check(Model("none", even), Model("none", even), answered=(1, 2, 0, 0, 1, 0)).passed


@pytest.mark.parametrize("hides", [False, True])
def test_a_random_defence_is_compared_within_its_interval(hides):
    verdicts = [
        check(Model("rdg", 0.6, 0.2, seed, hides=hides), Model("rdg", 0.6, 0.2, 1000 + seed)).passed
        for seed in range(200)
    ]
    assert all(verdicts)


def test_draws_that_differ_by_chance_are_followed_by_more():
    class Unlucky(Model):
        def probabilities(self, images, draws=1):
            self.mean, before = 0.6, self.mean
            return Model.probabilities(Model("rdg", before, 0.2, 1), images, draws)

    checked = check(Unlucky("rdg", 0.3), Model("rdg", 0.6, 0.2))
    assert checked.passed
    assert "the interval of 32 draws" in checked.detail


@pytest.mark.parametrize(("hides", "mean"), [(False, 0.3), (True, 0.1)])
def test_other_answers_behind_a_random_defence_fail(hides, mean):
    verdicts = [
        check(
            Model("rdg", mean, 0.2, seed, hides=hides), Model("rdg", 0.6, 0.2, 1000 + seed)
        ).passed
        for seed in range(50)
    ]
    assert sum(not passed for passed in verdicts) >= 45


def test_an_answer_that_is_not_valid_is_not_hidden():
    class Broken(Model):
        def probabilities(self, _images, _draws=1):
            raise EndpointError("not finite")

    for defense in ("none", "rdg"):
        with pytest.raises(EndpointError, match="not finite"):
            check(Broken(defense), Model(defense))


def test_without_the_model_there_is_nothing_to_compare():
    assert check(Model("none"), None).passed is None


@pytest.mark.parametrize("chosen", [True, False])
def test_what_is_assumed_is_added_to_this_check_alone(chosen):
    both = [Check(name=name, passed=True, detail="Fine.") for name in ("draws", "endpoint")]
    draws, endpoint = with_assumptions(both, chosen_by_endpoint=chosen)
    assert draws == both[0]
    assert endpoint.detail.startswith("Fine. The defence is assumed. ")
    assert ("photographs are those that the endpoint got right" in endpoint.detail) is chosen
