"""What changes of an attack's size do without any search: the control ``stripes`` of a run."""

from dataclasses import dataclass

from harness.report.attackers import attacker_of
from harness.results import Run

NAME = "stripes"
MISSING = "no stripes control"


@dataclass(frozen=True)
class Stripes:
    """What random stripes do, without a search. All values are shares in [0, 1] of the answers.

    Attributes:
        wrong: how many are wrong.
        wrong_best: how many are wrong for the best of ``best_of`` images.
        best_of: among how many images the best one was chosen.
        success: how many are a success of the run's attack.
        clean_wrong: how many are wrong for the photographs themselves.
    """

    wrong: float
    wrong_best: float
    best_of: int
    success: float
    clean_wrong: float


def wants_stripes(run: Run) -> bool:
    """Return whether a run's attack only posts images, so that stripes are its control."""
    return attacker_of(run) in ("scores", "classes")


def stripes_of(run: Run) -> Stripes | None:
    """Return the control of a run, or None if the run does not have it."""
    found = next((check.measured for check in run.checks if check.name == NAME), {})
    try:
        return Stripes(
            wrong=found["wrong"],
            wrong_best=found["wrong_best"],
            best_of=round(found["best_of"]),
            success=found["success"],
            clean_wrong=found["clean_wrong"],
        )
    except KeyError:
        return None
