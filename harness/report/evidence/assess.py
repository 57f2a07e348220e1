"""A run assessed: who attacks, and whether the service stops it, by the rules of the verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, get_args

from harness.report.attackers import MEASURABLE, SUBJECTS, Attacker, attacker_of
from harness.report.evidence.model import Outcome
from harness.report.groups import Entry, Group
from harness.report.outcomes import LARGEST_OPEN, SMALLEST_GAIN, outcome
from harness.results import Run

RULES: Final = (
    f"Not stopped: the attacker's success is more than {100 * SMALLEST_GAIN:.0f} points above the "
    "share of the photographs themselves, and the low end of its interval is above that share.",
    "Accuracy lost: the attacker does not reach the wanted class, but the right answers are more "
    f"than {100 * SMALLEST_GAIN:.0f} points below their share without an attack, and their "
    "interval ends below it.",
    "Stopped: neither of these, every check that was done is met, and the interval of the success "
    f"ends at most {100 * LARGEST_OPEN:.0f} points above the photographs' own share.",
    "Too few photographs: neither of these, but the interval is too wide to say so.",
    "Says little: neither of these, but a check is not met, so a stronger attack of this kind may "
    "succeed.",
    "Does not count: the endpoint did not answer as the model that it reports, or images were "
    "outside the budget.",
    "The attacker's success is an answer with the attacker's class or, without a target, any wrong "
    "answer. Intervals are 95 % Wilson intervals by the number of photographs.",
)
"""The rules of :func:`harness.report.verdict.outcome` in words."""
ORDER: Final[tuple[Attacker, ...]] = ("control", *MEASURABLE, "other")
_WORDS: Final[dict[str, Outcome]] = {
    "reaches": "not stopped",
    "degrades": "accuracy lost",
    "stopped": "stopped",
    "too-few": "too few photographs",
    "says-little": "says little",
    "void": "does not count",
}
_WORST_FIRST: Final[tuple[Outcome, ...]] = get_args(Outcome)


@dataclass(frozen=True)
class Assessed:
    """A run, its attacker and its outcome."""

    entry: Entry
    group: Group
    attacker: Attacker
    outcome: Outcome

    @property
    def run(self) -> Run:
        """The run."""
        return self.entry.run

    @property
    def words(self) -> str:
        """The attacker in words, as the subject of a sentence."""
        return SUBJECTS[self.attacker]

    @property
    def succeeds(self) -> bool:
        """Whether the attack makes answers wrong, beyond its interval."""
        return self.outcome in ("not stopped", "accuracy lost")

    @property
    def adversarial_posts(self) -> int:
        """How many adversarial images were posted for scoring. Each was answered with a class."""
        return sum(
            len(score.classes) for image in self.run.images for score in image.scores if score.round
        )


def assess(groups: Sequence[Group]) -> list[Assessed]:
    """Assess the runs of groups, in the order of their numbers."""
    found = []
    for group in groups:
        for entry in group.entries:
            attacker = attacker_of(entry.run)
            words: Outcome = "control" if attacker == "control" else _WORDS[outcome(entry)]
            found.append(Assessed(entry, group, attacker, words))
    return sorted(found, key=lambda each: each.entry.number)


def by_attacker(assessed: Sequence[Assessed]) -> list[tuple[Assessed, list[Assessed]]]:
    """Return each attacker by its most successful run, with all of its runs."""
    kinds: dict[Attacker, list[Assessed]] = {}
    for each in assessed:
        kinds.setdefault(each.attacker, []).append(each)
    ordered = sorted(kinds.items(), key=lambda kind: ORDER.index(kind[0]))
    return [(min(some, key=_most_successful_first), some) for _, some in ordered]


def _most_successful_first(each: Assessed) -> tuple[int, float, float]:
    final = each.entry.final
    return _WORST_FIRST.index(each.outcome), -final.asr.share, final.acc.share
