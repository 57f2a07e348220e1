"""Runs as rows of text, for the page, Markdown and the terminal."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean

from harness.rates import Rate, Rates, worst_case
from harness.report import controls
from harness.report.groups import MARKS, CheckState, Entry, Group, plain
from harness.report.outcomes import Outcome, outcome
from harness.results import Run

_FEW = 0.0005  # a percentage with one decimal would round a smaller share to 0


_WORTH: dict[Outcome, str] = {"reaches": "at least this much", "void": "does not count"}
"""What the figures of a run with an unmet check are worth, if they do not just say little."""


@dataclass(frozen=True)
class Cell:
    """One cell of a table.

    Attributes:
        text: the figure or the words.
        note: a less important addition.
    """

    text: str
    note: str = ""


@dataclass(frozen=True)
class Row:
    """One row of a table, and whether its runs can be believed."""

    cells: tuple[Cell, ...]
    state: CheckState
    number: int | None = None


@dataclass(frozen=True)
class Table:
    """A table. Its first ``words`` columns hold words, and the others hold figures."""

    caption: str
    headings: tuple[str, ...]
    rows: tuple[Row, ...]
    words: int = 2


def percent(share: float) -> str:
    """Format a share as a percentage with one decimal; only none is 0 %, and only all 100 %."""
    if 0 < share < _FEW:
        return "<0.1 %"
    if 1 - _FEW < share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f}".removesuffix(".0") + " %"


def rate(measured: Rate) -> str:
    """Format a share with its interval: ``94.5 % [85…98]``."""
    return f"{percent(measured.share)} [{100 * measured.low:.0f}…{100 * measured.high:.0f}]"


def number(measured: float) -> str:
    """Format a mean with three digits, or with all digits before the decimal point."""
    return f"{measured:,.0f}" if abs(measured) >= 100 else f"{measured:.3g}"


def linf(change: float) -> str:
    """Format an l∞ change in steps of 8-bit pixels."""
    return f"{255 * change:.3g}/255"


def budget(run: Run) -> str:
    """Format the budget of a run: how far it may move from the photographs."""
    if run.attack.norm == "linf":
        return f"l∞ ≤ {linf(run.attack.epsilon)}"
    return f"l2 ≤ {run.attack.epsilon:.3g}"


def posted(run: Run) -> str:
    """Return the form in which a run posted its images."""
    return "8-bit" if run.endpoint.quantized else "float32"


def asr_heading(entries: Iterable[Entry]) -> str:
    """Return the heading of the ASR, which depends on whether the attacks had targets."""
    targeted = {entry.run.attack.targeted for entry in entries}
    if targeted == {True}:
        return "ASR"
    return "ASR (misclassified)" if targeted == {False} else "ASR (untargeted runs: misclassified)"


def unmet(entry: Entry) -> str:
    """Name the checks that a run did not meet: ``check `epsilon` not met``."""
    names = [f"`{plain(check.name)}`" for check in entry.failed]
    return f"check{'s' if len(names) > 1 else ''} {', '.join(names)} not met"


def checks(entry: Entry) -> str:
    """Summarise the checks in a few words, and what a run with an unmet check is worth."""
    if entry.state == "failed":
        worth = _WORTH.get(outcome(entry), "says little")
        return f"{MARKS['failed']} {unmet(entry)}: {worth}"
    if entry.state == "unchecked":
        return f"{MARKS['unchecked']} not checked"
    # A control has a figure instead of a condition.
    conditions = [check for check in entry.run.checks if check.name != controls.NAME]
    met = sum(check.passed is True for check in conditions)
    not_done = len(conditions) - met
    return f"{met} met" + (f", {not_done} not done" if not_done else "")


def stripes(run: Run) -> str:
    """Describe the control of an attack without gradients; empty for other attacks.

    ``stripes, never scored: 43 % wrong; best of 10: 46 %``
    """
    measured = controls.stripes_of(run)
    if measured is None:
        return controls.MISSING if controls.wants_stripes(run) else ""
    return (
        f"stripes, never scored: {percent(measured.wrong)} wrong; best of {measured.best_of}: "
        f"{percent(measured.wrong_best)}"
    )


def results(group: Group) -> Table:
    """Tabulate each run: how often it succeeded, how far it moved, and what it cost."""
    draws = group.draws or "N"
    return Table(
        "Results of the final iterates, next to those of the clean images",
        (
            "Defence",
            "Attack",
            "Rounds",
            "Budget",
            "ACC",
            f"{asr_heading(group.entries)}, mean",
            f"any of {draws}",
            f"majority of {draws}",
            "l2",
            "cost / image",
            "Checks",
        ),
        tuple(_result(entry, each_has_own=group.draws is None) for entry in group.entries),
    )


def _result(entry: Entry, *, each_has_own: bool) -> Row:
    run, clean, final = entry.run, entry.clean, entry.final
    draws = f"N = {run.scoring_draws}, " if each_has_own else ""
    of_clean = f"clean {percent(clean.acc.share)}"
    return Row(
        (
            Cell(entry.defense),
            Cell(entry.attack),
            Cell(str(entry.last_round)),
            Cell(budget(run), posted(run)),
            Cell(rate(final.acc), "; ".join(filter(None, (of_clean, stripes(run))))),
            Cell(rate(final.asr), f"clean {percent(clean.asr.share)}"),
            Cell(percent(final.any.share), f"{draws}clean {percent(clean.any.share)}"),
            Cell(percent(final.majority.share), f"{draws}clean {percent(clean.majority.share)}"),
            Cell(f"{final.l2_rms:.3g}", f"l∞ {linf(final.linf)}"),
            Cell(_cost(run), f"{_mean(image.seconds for image in run.images)} s"),
            Cell(checks(entry)),
        ),
        entry.state,
        entry.number,
    )


def _cost(run: Run) -> str:
    """Return how many gradients the attack took for an image, and how many images it posted."""
    means = {
        "gradients": fmean(image.gradients for image in run.images),
        "queries": fmean(image.queries for image in run.images),
    }
    return ", ".join(f"{number(mean)} {what}" for what, mean in means.items() if mean) or "none"


def _mean(values: Iterable[float]) -> str:
    return number(fmean(values))


def worst(group: Group) -> Table:
    """Tabulate each defence and budget: each image counts with the attack that hurt it most.

    ACC is over all attacks. ASR is over the targeted ones, if any: to reach the target and to
    reach any wrong class are different successes.
    """
    members: dict[tuple[str, str, str], list[Entry]] = {}
    for entry in group.entries:
        key = (entry.defense, budget(entry.run), posted(entry.run))
        members.setdefault(key, []).append(entry)
    draws = group.draws or "N"
    return Table(
        "Worst case over attacks: each image counts with the attack that hurt it most",
        (
            "Defence",
            "Attacks",
            "Budget",
            "ACC",
            asr_heading(group.entries),
            f"any of {draws}",
            f"majority of {draws}",
            "Checks",
        ),
        tuple(_worst(entries) for entries in members.values()),
    )


def _worst(entries: Sequence[Entry]) -> Row:
    targeted = [entry for entry in entries if entry.run.attack.targeted]
    over_all = worst_case([entry.run for entry in entries])
    success: Rates = worst_case([entry.run for entry in targeted or entries])
    first, note = entries[0], "" if targeted else "untargeted"
    if targeted and len(targeted) < len(entries):
        note = f"{len(targeted)} targeted of {len(entries)}"
    return Row(
        (
            Cell(first.defense),
            Cell("; ".join(entry.attack for entry in entries)),
            Cell(budget(first.run), posted(first.run)),
            Cell(rate(over_all.acc)),
            Cell(rate(success.asr), note),
            Cell(percent(success.any.share)),
            Cell(percent(success.majority.share)),
            Cell(_checks_of(entries)),
        ),
        _state_of(entries),
    )


def _state_of(entries: Sequence[Entry]) -> CheckState:
    states = {entry.state for entry in entries}
    if "failed" in states:
        return "failed"
    return "unchecked" if "unchecked" in states else "passed"


def _checks_of(entries: Sequence[Entry]) -> str:
    words: dict[CheckState, str] = {"failed": "a check not met", "unchecked": "not checked"}
    counts = [
        f"{MARKS[state]} {word} in {sum(entry.state == state for entry in entries)}"
        for state, word in words.items()
        if any(entry.state == state for entry in entries)
    ]
    return f"{', '.join(counts)} of {len(entries)}" if counts else "all met"
