"""The attackers in NIST's terms, and their techniques in MITRE ATLAS."""

from dataclasses import dataclass
from typing import Final

from harness.report.attackers import Attacker, attacker_of, gradients_of
from harness.report.controls import stripes_of
from harness.report.evidence import standards
from harness.report.evidence.model import Technique
from harness.report.groups import Entry
from harness.report.outcomes import outcome
from harness.results import Run


@dataclass(frozen=True)
class Terms:
    """The terms of NIST AI 100-2 E2025, and the techniques of MITRE ATLAS that an attack needs."""

    nist: tuple[str, ...] = ()
    atlas: tuple[Technique, ...] = ()


_WHITE_BOX: Final = Terms(
    (standards.EVASION, standards.WHITE_BOX),
    (standards.FULL_ACCESS, standards.WHITE_BOX_OPTIMIZATION, standards.API_ACCESS),
)
_TRANSFER: Final = Terms(
    (standards.EVASION, standards.TRANSFER),
    (standards.BLACK_BOX_TRANSFER, standards.API_ACCESS),
)
_QUERIES: Final = (standards.API_ACCESS, standards.BLACK_BOX_OPTIMIZATION)
_TERMS: Final[dict[Attacker, Terms]] = {
    "ready-made": _WHITE_BOX,
    "identity": _WHITE_BOX,
    "exact": _WHITE_BOX,
    "transfer": _TRANSFER,
    "scores": Terms((standards.EVASION, standards.BLACK_BOX, standards.SCORE_BASED), _QUERIES),
    "classes": Terms((standards.EVASION, standards.BLACK_BOX, standards.DECISION_BASED), _QUERIES),
    "control": Terms(),
    "other": Terms(),
}


def terms_of(run: Run) -> Terms:
    """Return the terms of a run's attack, whether it succeeds or not; none for a control."""
    if gradients_of(run) is not None:
        return _TRANSFER
    terms = _TERMS[attacker_of(run)]
    if terms.atlas and run.attack.parameters.get("early_stop") is True:
        return Terms(terms.nist, (*terms.atlas, standards.VERIFY))
    return terms


def evasion_of(entry: Entry) -> tuple[tuple[Technique, ...], str]:
    """Return AML.T0015 if a run shows it, and why it is or is not claimed.

    AML.T0015 says that the model was evaded. To reach the attacker's class more often than the
    photographs do shows it. Mere wrong answers must also be more than those of random stripes,
    because a single image of stripes, which nobody searched for, already causes many.
    """
    technique = standards.EVADE
    name = f"{technique.id} {technique.name}"
    found = outcome(entry)
    if attacker_of(entry.run) == "control":
        return (), "A control is not an attack."
    if found not in ("reaches", "degrades"):
        return (), f"{name} is not claimed: no such success is shown."
    if found == "reaches" and entry.run.attack.targeted:
        return (technique,), f"{name} is claimed: the attacker's class is reached."
    stripes = stripes_of(entry.run)
    if stripes is None:
        return (), (
            f"{name} is not claimed: the run has no control with stripes, so it does not show how "
            "many of the wrong answers need an attack."
        )
    if 1 - entry.final.acc.high <= stripes.wrong:
        return (), f"{name} is not claimed: random stripes, never scored, do as much."
    return (technique,), f"{name} is claimed: more answers are wrong than by random stripes."
