"""What each run shows: whether the attack succeeds, fails, or says little."""

from typing import Literal, TypeAlias

from harness.report.controls import stripes_of
from harness.report.groups import Entry

Outcome: TypeAlias = Literal["reaches", "degrades", "stopped", "too-few", "says-little", "void"]

VOIDING = ("endpoint", "budget")
"""Without these checks, the figures of a run are not those of this endpoint or of this budget."""
ATTACKING = ("fixed-draw", "epsilon", "iterations")
"""The checks that show that an attack works at all."""
LARGEST_OPEN = 0.3
"""An attack counts as stopped only if its interval ends less than this above the photographs'."""
SMALLEST_GAIN = 0.05
"""From how much more than the photographs' share on an attack counts as one that reaches something:
a single stray answer of hundreds does not."""


def outcome(entry: Entry) -> Outcome:
    """Return what a run shows about its attack.

    ``reaches`` and ``degrades``: the share of the successes, or that of the wrong answers, is more
    than 5 points above that of the clean photographs, and its interval is above it. ``stopped``:
    neither is, and the attack is not known to be broken. ``too-few``: neither is, but the interval
    is too wide to exclude it.
    """
    failed = {check.name for check in entry.failed}
    asr, acc, clean = entry.final.asr, entry.final.acc, entry.clean
    if failed & set(VOIDING):
        return "void"
    if asr.share > clean.asr.share + SMALLEST_GAIN and asr.low > clean.asr.share:
        return "reaches"
    if acc.share < clean.acc.share - SMALLEST_GAIN and acc.high < clean.acc.share:
        return "degrades"
    if failed:
        return "says-little"
    return "stopped" if asr.high - clean.asr.share <= LARGEST_OPEN else "too-few"


def progress(entry: Entry) -> float:
    """Return the share of answers that the attack gains beyond clean photographs and stripes."""
    stripes = stripes_of(entry.run)
    without = entry.clean.asr.share
    return entry.final.asr.share - max(without, stripes.success if stripes else 0.0)


def is_checked(entry: Entry) -> bool:
    """Return whether it was checked, and confirmed, that the run's attack works."""
    return any(check.name in ATTACKING and check.passed for check in entry.run.checks)
