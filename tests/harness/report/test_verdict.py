import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.rates import Rate
from harness.report.attackers import MEASURABLE, attacker_of, gradients_of
from harness.report.groups import grouped
from harness.report.tables import rate
from harness.report.verdict import outcome, verdicts
from harness.results import Check, Run

ROBUSTNESS = Path(__file__).parents[3] / "docs" / "robustness"
WORKS = Check(name="epsilon", passed=True, detail="")
BROKEN = Check(name="epsilon", passed=False, detail="")
ELSEWHERE = Check(name="endpoint", passed=False, detail="")
OTHER_MODEL = {"model": "lite0", "sha256": "cd" * 32}
OWN_MODEL = {"model": "lite2", "sha256": "ab" * 32}
NOTHING = {0: 0, 10: 0}


def stripes(wrong=0.4, success=0.4):
    measured = {
        "success": success,
        "wrong": wrong,
        "wrong_best": wrong + 0.05,
        "best_of": 10,
        "clean_wrong": 0.0,
        "images": 50,
    }
    return Check(name="stripes", passed=None, detail="", measured=measured)


def verdict(*runs):
    (only,) = verdicts(grouped(runs))
    return only


def texts(sentences):
    return [each.text for each in sentences]


@pytest.fixture
def fifty(make_run):
    """Makes runs of fifty images, each with its own name, whose attack was checked."""

    def make(attack, successes=None, *, surrogate=None, **options):
        options = {"images": 50, "checks": (WORKS,), "name": attack} | options
        run = make_run(attack, successes=successes, **options)
        return run.model_copy(update={"surrogate": surrogate})

    return make


def test_two_sentences_name_what_is_stopped_and_the_strongest_attacker(fifty):
    found = verdict(
        fifty("i-fgsm", {0: 0, 1: 0}),
        fifty("cw", {0: 0, 1: 0}),
        fifty("adaptive", {0: 0, 5: 5, 20: 10, 40: 10}),
        fifty("adaptive", {0: 0, 10: 6}, surrogate=OTHER_MODEL),
    )
    assert found.title == "lite2 · fd+rdg"
    assert texts(found.headline) == [
        "Ready-made adversarial images are stopped: 0 % [0…7] of the answers are the attacker's.",
        "An attacker who knows the model and the code of the defence gets 100 % [93…100] of the "
        "answers after 20 rounds, at 40 % of the budget (l2 ≤ 0.05).",
    ]
    assert [entry.run.name for entry in found.headline[0].entries] == ["i-fgsm", "cw"]
    assert found.headline[0].basis == "i-fgsm, cw; 50 photographs"
    assert found.text == " ".join(texts(found.headline))
    assert [each.kind for each in found.remarks] == ["reaches", "clean", "unmeasured"]
    assert found.remarks[0].text.startswith(
        "An attacker who knows the code of the defence, but not the model gets 60 %"
    )
    assert found.remarks[-1].text == (
        "Not measured: an attacker who takes gradients as if there were no defence (BPDA); an "
        "attacker who sees only the probabilities in the answers; an attacker who sees only the "
        "classes in the answers."
    )


def test_a_failed_attack_whose_check_was_not_met_says_little(fifty):
    found = verdict(fifty("bpda", NOTHING, checks=(BROKEN,)))
    assert texts(found.headline) == [
        "An attacker who takes gradients as if there were no defence (BPDA): 0 % [0…7] of "
        "the answers are the attacker's, which says little (check `epsilon` not met)."
    ]
    assert not any("stopped" in text for text in texts((*found.headline, *found.remarks)))


def test_a_success_counts_although_a_check_was_not_met(fifty):
    (sentence,) = verdict(fifty("adaptive", {0: 0, 9: 5}, checks=(BROKEN,))).headline
    assert sentence.kind == "reaches"
    assert sentence.text.endswith(" (check `epsilon` not met).")


def test_the_figures_of_an_endpoint_that_is_not_what_it_reports_do_not_count(fifty):
    found = verdict(fifty("adaptive", {0: 0, 9: 10}, checks=(ELSEWHERE,)))
    assert [each.kind for each in found.headline] == ["void"]
    assert "do not count" in found.text
    assert "100 %" not in found.text


def test_few_photographs_stop_nothing(fifty):
    found = verdict(*(fifty(name, NOTHING, images=4) for name in ("hopskipjump", "i-fgsm")))
    assert [each.kind for each in found.headline] == ["too-few"]
    assert found.text == (
        "The photographs are too few for a verdict on ready-made adversarial images: 0 % [0…49]; "
        "an attacker who sees only the classes in the answers: 0 % [0…49]."
    )


def test_an_attack_that_was_not_checked_is_marked(fifty):
    found = verdict(fifty("i-fgsm", NOTHING, checks=()))
    assert "are stopped: 0 % [0…7]" in found.text
    assert found.text.endswith("(it was not checked that it works).")


def test_wrong_answers_count_although_the_class_is_not_reached(fifty):
    run = fifty("bpda", NOTHING)
    images = tuple(
        image.model_copy(
            update={
                "scores": (
                    image.scores[0],
                    image.scores[1].model_copy(update={"classes": (7,) * 5 + (1,) * 5}),
                )
            }
        )
        for image in run.images
    )
    (sentence,) = verdict(run.model_copy(update={"images": images})).headline
    assert sentence.kind == "degrades"
    assert "does not reach the wanted class (0 % [0…7]), but makes 50 % [37…63]" in sentence.text


def test_a_search_counts_beyond_stripes(fifty):
    square = {"targeted": False, "successes": {0: 1, 10: 6}}
    found = verdict(fifty("square", checks=(WORKS, stripes()), **square))
    assert (
        "makes 60 % [46…72] of the answers wrong, within l2 ≤ 0.05; without an attack it is 10 %; "
        "random stripes, never scored, reach 40 %, so the search adds 20 points." in found.text
    )
    found = verdict(fifty("square", checks=(WORKS, stripes(0.7, 0.7)), **square))
    assert found.text.endswith("so the search adds nothing.")
    found = verdict(fifty("square", **square))
    assert found.text.endswith("; there is no stripes control.")


def test_without_a_defence_other_attackers_are_missing(fifty):
    found = verdict(fifty("i-fgsm", {0: 0, 1: 9}, defense="none", surrogate=OWN_MODEL))
    assert found.title == "lite2 · without a defence"
    assert found.text == (
        "Adversarial images made for this model get 90 % [79…96] of the answers, within l2 ≤ 0.05."
    )
    assert found.remarks[-1].attackers == ("scores", "classes")


def test_each_defence_has_a_verdict_and_no_defence_comes_last(fifty):
    found = verdicts(
        grouped(
            [
                fifty("i-fgsm", NOTHING, defense="none"),
                fifty("i-fgsm", NOTHING, defense="rdg"),
                fifty("i-fgsm", NOTHING),
                fifty("adaptive", NOTHING, images=20),
            ]
        )
    )
    assert [each.title for each in found] == [
        "lite2 · fd+rdg",
        "lite2 · rdg",
        "lite2 · without a defence",
    ]
    assert [len(each.entries) for each in found] == [2, 1, 1]


def test_no_verdict_is_made_of_controls(fifty):
    found = verdict(fifty("noise", NOTHING))
    assert [each.kind for each in (*found.headline, *found.remarks)] == ["clean", "unmeasured"]
    assert found.remarks[0].attackers == MEASURABLE


@pytest.mark.parametrize(
    ("attack", "parameters", "surrogate", "expected"),
    [
        ("adaptive", {}, OWN_MODEL, "exact"),
        ("adaptive", {"knowledge": "exact"}, OTHER_MODEL, "transfer"),
        ("adaptive", {"knowledge": "identity"}, OWN_MODEL, "identity"),
        ("semi-brute-force", {"knowledge": "random"}, OWN_MODEL, "exact"),
        ("i-fgsm", {}, OTHER_MODEL, "ready-made"),
        ("square", {}, None, "scores"),
        ("hopskipjump", {}, None, "classes"),
        ("stripes", {}, None, "control"),
        ("new", {}, None, "other"),
    ],
)
def test_an_attacker_is_known_by_what_the_attack_knows(
    fifty, attack, parameters, surrogate, expected
):
    assert attacker_of(fifty(attack, parameters=parameters, surrogate=surrogate)) == expected


def test_gradients_are_those_of_another_model_unless_it_is_shown_to_be_the_served_one(fifty):
    assert gradients_of(fifty("square")) is None
    assert gradients_of(fifty("adaptive", surrogate=OTHER_MODEL)) == "lite0"
    assert gradients_of(fifty("adaptive", surrogate=OWN_MODEL)) is None
    undescribed = {"surrogate": OWN_MODEL, "model_sha256": None}
    assert gradients_of(fifty("adaptive", **undescribed)) == "lite2"
    same = Check(name="endpoint", passed=True, detail="")
    assert gradients_of(fifty("adaptive", checks=(same,), **undescribed)) is None


def test_a_defence_that_is_only_assumed_is_marked(make_run):
    run = make_run("square", defense="none")
    assumed = SimpleNamespace(**(dict(run.endpoint) | {"defense_assumed": True}))
    found = verdict(run.model_copy(update={"endpoint": assumed}))
    assert found.title == "lite2 · without a defence (assumed)"


def test_a_stray_answer_is_not_a_success(fifty):
    run = fifty("adaptive", NOTHING)
    first, *others = run.images
    stray = first.scores[1].model_copy(update={"classes": (2,) + (1,) * 9})
    first = first.model_copy(update={"scores": (first.scores[0], stray)})
    (group,) = grouped([run.model_copy(update={"images": (first, *others)})])
    (entry,) = group.entries
    assert entry.final.asr.low > 0
    assert outcome(entry) == "stopped"
    assert "is stopped: 0.2 % [0…8] of the answers are the attacker's" in (
        verdicts([group])[0].text
    )


def test_each_figure_of_a_sentence_is_a_figure_of_a_run_that_it_rests_on():
    runs = [Run.read(path) for path in sorted(ROBUSTNESS.glob("*.json"))]
    found = verdicts(grouped(runs))
    assert len(found) >= 4
    for each in found:
        for sentence in (*each.headline, *each.remarks):
            shown = set(re.findall(r"[\d.<>]+ % \[\d+…\d+\]", sentence.text))
            assert bool(shown) == bool(sentence.entries)
            assert shown <= {
                rate(measured)
                for entry in sentence.entries
                for rates in (entry.clean, entry.final)
                for measured in (rates.acc, rates.asr, wrong(rates.acc))
            }


def wrong(acc):
    return Rate(1 - acc.share, 1 - acc.high, 1 - acc.low)
