import pytest

from harness.report.evidence.metrics import metrics
from harness.results import Check
from tests.harness.report.evidence.conftest import EVERYTHING, MET, NOTHING


def test_each_set_of_photographs_and_each_budget_has_its_figures(make, assessed):
    found = metrics(
        assessed(
            make("i-fgsm", norm="linf", epsilon=8 / 255, successes=NOTHING),
            make("adaptive", successes={0: 1, 10: 10}),
            make("square", targeted=False, images=60, dataset="other", successes=EVERYTHING),
            make("noise", successes=EVERYTHING),
        )
    )
    measured = [metric for metric in found if metric.measured]
    assert [(metric.name, metric.measured.share) for metric in measured] == [
        ("Accuracy without an attack", 1.0),
        ("Accuracy under attack", 0.0),
        ("Accuracy without an attack", pytest.approx(1 - 0.1 / 3)),
        ("Accuracy under attack", 1.0),
        ("Success of attackers who want a given class", 0.0),
        ("Accuracy under attack", 0.0),
        ("Success of attackers who want a given class", 1.0),
    ]
    assert measured[0].condition == "60 photographs of other, all draws of 1 run"
    assert measured[3].condition == "40 photographs of nips, l∞ ≤ 8/255, 8-bit images: i-fgsm"
    assert measured[0].articles == "15(3), 13(3)(b)(ii)"
    assert measured[1].articles == "15(5), 13(3)(b)(ii)"


def test_what_was_not_measured_is_named(make, assessed):
    rest = [metric for metric in metrics(assessed(make())) if not metric.measured]
    assert [metric.articles for metric in rest] == ["15(3), 13(3)(b)(ii)", "15(4)", "15(5)"]
    assert all(metric.condition for metric in rest)


def test_a_run_on_another_model_does_not_count(make, assessed):
    void = (*MET, Check(name="endpoint", passed=False, detail="it is another model"))
    found = metrics(assessed(make(successes=EVERYTHING, checks=void)))
    assert not any(metric.measured for metric in found)


def test_each_photograph_counts_with_the_attack_that_hurts_it_most(make, assessed):
    runs = [make("bpda", successes={0: 0, 10: 5}), make("adaptive", successes={0: 0, 10: 8})]
    (under_attack,) = [m for m in metrics(assessed(*runs)) if m.name == "Accuracy under attack"]
    assert under_attack.measured.share == pytest.approx(0.2)
    assert under_attack.measured.low < 0.2 < under_attack.measured.high
