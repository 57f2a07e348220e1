"""Each row of AISVS C11 with runs that answer yes, no and not measured, where they can."""

import inspect

import pytest

from harness.report.evidence.aisvs import HIDES_PROBABILITIES, requirements
from harness.results import Check
from harness.runs import sanity
from tests.harness.report.evidence.conftest import EVERYTHING, MET, NOTHING, UNMET

HIDDEN = (
    Check(name="fixed-draw", passed=True, detail="it succeeds"),
    Check(name="draws", passed=None, detail=HIDES_PROBABILITIES),
)
ROWS = {
    "11.1": (1, 1, 1, 2, 3),
    "11.2": (1, 1, 2, 2, 3),
    "11.3": (1, 2, 3, 3),
    "11.4": (2, 2, 3),
}
"""The rows of the published standard: how many each section has, and their levels."""
ANSWERED = ("11.1.3", "11.1.4", "11.3.2", "11.4.2")
"""The rows that attacks through the endpoint can show."""


@pytest.fixture
def answer(make, assessed):
    """Returns the row with an id, for runs by the arguments that make them."""

    def row(id_, *runs):
        made = [make(**{"name": f"run {number}"} | each) for number, each in enumerate(runs)]
        return next(row for row in requirements(assessed(*made)) if row.id == id_)

    return row


def test_all_rows_are_there_in_order_with_their_levels(make, assessed):
    rows = requirements(assessed(make()))
    assert [(row.id, row.level) for row in rows] == [
        (f"{section}.{number}", level)
        for section, levels in ROWS.items()
        for number, level in enumerate(levels, 1)
    ]
    assert all(row.reason.endswith(".") for row in rows)


def test_rows_about_what_a_client_does_not_see_are_not_measured(make, assessed):
    runs = [make(successes=EVERYTHING), make("square", queries=4000, successes=NOTHING)]
    by_id = {row.id: row for row in requirements(assessed(*runs))}
    assert {row.answer for id_, row in by_id.items() if id_ not in ANSWERED} == {"not measured"}
    assert "4,000 images for one photograph" in by_id["11.2.2"].figure
    assert "4,000 images for one photograph" in by_id["11.3.1"].figure


ATTACK = {"attack": "adaptive", "successes": EVERYTHING}
STOPPED = {"attack": "adaptive", "successes": NOTHING}
CONTROL = {"attack": "noise", "successes": NOTHING}
LABELS_ONLY = {"attack": "hopskipjump", "targeted": False, "successes": NOTHING, "checks": HIDDEN}


@pytest.mark.parametrize(
    ("id_", "runs", "expected", "figure"),
    [
        ("11.1.3", [ATTACK], "yes", "1 of 1 attacks met their checks"),
        ("11.1.3", [ATTACK, STOPPED | {"checks": UNMET}], "yes", "1 of 2 attacks met their checks"),
        ("11.1.3", [STOPPED | {"checks": UNMET}], "no", "0 of 1 attacks met their checks"),
        ("11.1.3", [STOPPED | {"checks": ()}], "no", "0 of 1 attacks met their checks"),
        ("11.1.3", [CONTROL], "not measured", ""),
        ("11.1.4", [ATTACK], "no", "0 % [0…9] of the answers right under adaptive"),
        ("11.1.4", [ATTACK | {"checks": UNMET}], "no", "0 % [0…9] of the answers right"),
        ("11.1.4", [STOPPED, {"attack": "i-fgsm"} | ATTACK], "no", "0 % [0…9]"),
        ("11.1.4", [STOPPED], "yes", "100 % [91…100] of the answers right under adaptive"),
        ("11.1.4", [STOPPED | {"checks": UNMET}], "not measured", "100 % [91…100]"),
        ("11.1.4", [STOPPED | {"attack": "i-fgsm"}], "not measured", "100 % [91…100]"),
        ("11.1.4", [CONTROL], "not measured", ""),
        ("11.3.2", [STOPPED], "no", "the client got probabilities in 1 of 1 runs"),
        (
            "11.3.2",
            [LABELS_ONLY, {"attack": "square"}],
            "no",
            "the client got probabilities in 1 of 2 runs",
        ),
        ("11.3.2", [LABELS_ONLY], "yes", "the client got no probabilities in 1 of 1 runs"),
        ("11.3.2", [LABELS_ONLY | {"checks": MET[:1]}], "not measured", ""),
        ("11.4.2", [ATTACK], "no", "0 of 400 adversarial images were refused"),
        ("11.4.2", [ATTACK | {"successes": {0: 0}}], "not measured", ""),
        ("11.4.2", [CONTROL], "not measured", ""),
    ],
)
def test_a_row_is_answered_by_the_runs(answer, id_, runs, expected, figure):
    row = answer(id_, *runs)
    assert row.answer == expected
    assert figure in row.figure
    assert (row.figure == "") == (figure == "")


def test_the_sentence_about_hidden_probabilities_is_that_of_the_check():
    assert f'detail="{HIDES_PROBABILITIES}"' in inspect.getsource(sanity)
