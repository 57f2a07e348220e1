"""NIST's terms and ATLAS techniques: which, and when AML.T0015 is claimed."""

import pytest

from harness.attacks import ATTACKS
from harness.report.evidence.threats import evasion_of, terms_of
from harness.report.groups import grouped
from harness.results import Check
from tests.harness.report.evidence.conftest import EVERYTHING, MET, NOTHING, OTHER, UNMET

WHITE_BOX = ("AML.T0044", "AML.T0043.000", "AML.T0040")
QUERIES = ("AML.T0040", "AML.T0043.001")


@pytest.mark.parametrize(
    ("run", "nist", "atlas"),
    [
        ({"attack": "i-fgsm"}, ("white-box",), WHITE_BOX),
        ({"attack": "bpda"}, ("white-box",), WHITE_BOX),
        ({"attack": "adaptive"}, ("white-box",), WHITE_BOX),
        (
            {"attack": "bpda", "parameters": {"early_stop": True}},
            ("white-box",),
            (*WHITE_BOX, "AML.T0042"),
        ),
        (
            {"attack": "adaptive", "surrogate": OTHER},
            ("transferability",),
            ("AML.T0043.002", "AML.T0040"),
        ),
        (
            {"attack": "i-fgsm", "surrogate": OTHER},
            ("transferability",),
            ("AML.T0043.002", "AML.T0040"),
        ),
        ({"attack": "square"}, ("black-box evasion (NISTAML.025)", "score-based"), QUERIES),
        ({"attack": "hopskipjump"}, ("black-box evasion (NISTAML.025)", "decision-based"), QUERIES),
    ],
)
def test_an_attack_has_its_terms(make, run, nist, atlas):
    terms = terms_of(make(**run))
    assert terms.nist == ("evasion (NISTAML.022)", *nist)
    assert tuple(each.id for each in terms.atlas) == atlas


def test_a_control_is_not_an_attack(make):
    assert terms_of(make("noise")).nist == terms_of(make("noise")).atlas == ()


@pytest.mark.parametrize("name", ATTACKS)
def test_every_attack_is_classified(make, name):
    assert name in ("noise", "stripes") or terms_of(make(name)).nist


def stripes(success):
    shares = {"success": success, "wrong": success, "wrong_best": success, "best_of": 10}
    measured = shares | {"clean_wrong": 0.0}
    return (*MET, Check(name="stripes", passed=None, detail="stripes", measured=measured))


VOID = (*MET, Check(name="endpoint", passed=False, detail="it is another model"))
UNTARGETED = {"attack": "square", "targeted": False, "successes": EVERYTHING}


@pytest.mark.parametrize(
    ("run", "claimed", "note"),
    [
        ({"successes": EVERYTHING}, True, "is claimed: the attacker's class is reached"),
        ({"successes": EVERYTHING, "checks": UNMET}, True, "the attacker's class is reached"),
        ({"successes": EVERYTHING, "targeted": False}, False, "no control with stripes"),
        ({"successes": NOTHING}, False, "no such success is shown"),
        ({"successes": EVERYTHING, "checks": VOID}, False, "no such success is shown"),
        ({"attack": "noise", "successes": EVERYTHING}, False, "A control is not an attack"),
        (UNTARGETED, False, "no control with stripes"),
        (UNTARGETED | {"checks": stripes(0.95)}, False, "random stripes, never scored, do as much"),
        (
            UNTARGETED | {"checks": stripes(0.4)},
            True,
            "more answers are wrong than by random stripes",
        ),
    ],
)
def test_evasion_is_claimed_only_where_the_runs_show_it(make, run, claimed, note):
    (group,) = grouped([make(**run)])
    techniques, reason = evasion_of(group.entries[0])
    assert [each.id for each in techniques] == ["AML.T0015"] * claimed
    assert note in reason
