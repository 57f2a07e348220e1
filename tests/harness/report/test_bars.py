import pytest

from harness.report.bars import bars, summary
from harness.report.groups import grouped
from harness.report.styles import DARK, LIGHT
from harness.report.verdict import verdicts
from harness.results import Check

UNMET = (Check(name="epsilon", passed=False, detail=""),)


def test_the_clean_images_come_first_and_then_the_runs_of_the_verdict(make_run):
    runs = [
        make_run("bpda", successes={0: 1, 9: 1}, checks=UNMET),
        make_run("noise", successes={0: 1, 9: 1}),
        make_run("adaptive", successes={0: 1, 9: 10}),
    ]
    (verdict,) = verdicts(grouped(runs))
    clean, *others = bars(verdict)
    assert (clean.label, clean.figure, clean.shares) == (
        "no attack",
        "90 % right",
        pytest.approx((0, 0.1, 0.9)),
    )
    assert [bar.label for bar in others] == ["adaptive", "bpda", "noise"]
    assert others[0].figure == "100 % [51…100] the attacker's"
    assert others[1].note == "gradients without the defence; ! check `epsilon` not met"


def test_an_untargeted_attack_has_no_class_of_its_own(make_run):
    (verdict,) = verdicts(grouped([make_run("square", targeted=False, successes={0: 0, 9: 6})]))
    bar = bars(verdict)[1]
    assert bar.shares == pytest.approx((0, 0.6, 0.4))
    assert bar.figure == "60 % [20…90] wrong"
    assert bar.note == "sees probabilities; no stripes control"
    assert bar.description == "the attacker's class: 0 %, another wrong class: 60 %, right: 40 %"


@pytest.mark.parametrize("theme", [LIGHT, DARK])
def test_the_summary_has_all_bars(make_run, theme):
    found = verdicts(grouped([make_run("a$x^$"), make_run("cw", "none")]))
    drawn = summary(found, theme)
    drawn.draw_without_rendering()
    (axes,) = drawn.axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        "no attack",
        r"a\$x^\$",
        "no attack",
        "cw\nready-made images",
    ]
    assert len(axes.patches) == 3 * 4
    assert {text.get_text() for text in axes.texts} > {
        "lite2 · fd+rdg",
        "lite2 · without a defence",
    }
