"""The chart of all runs: what became of the answers. One bar is one run, and all of it is 100 %."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import fill

from matplotlib.figure import Figure
from matplotlib.patches import Patch

from harness.rates import Rates
from harness.report.attackers import IN_SHORT, attacker_of
from harness.report.groups import MARKS, Entry
from harness.report.styles import LIGHT, Theme
from harness.report.tables import percent, rate, stripes, unmet
from harness.report.verdict import Verdict

PARTS = ("the attacker's class", "another wrong class", "right")
"""What the parts of a bar are. An untargeted attack has no class of its own."""
_BAR_INCHES = 0.42
_NOTE_CHARACTERS = 48


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        label: the attack, or that there is none.
        note: the attacker in short, a control, and checks that were not met.
        figure: the share of the attacker's answers with its interval.
        shares: of the answers: the attacker's, those that are wrong otherwise, and the right ones.
        entry: the run; None for the clean photographs.
    """

    label: str
    note: str
    figure: str
    shares: tuple[float, float, float]
    entry: Entry | None

    @property
    def description(self) -> str:
        """The bar in words."""
        parts = zip(PARTS, self.shares, strict=True)
        return ", ".join(f"{name}: {percent(share)}" for name, share in parts)


def bars(verdict: Verdict) -> list[Bar]:
    """Return a bar for the clean photographs, and one for each run in the order of the verdict."""
    ordered = dict.fromkeys(
        entry.number
        for sentence in (*verdict.headline, *verdict.remarks)
        if sentence.kind != "clean"
        for entry in sentence.entries
    )
    order = [*ordered]
    entries = sorted(
        verdict.entries,
        key=lambda entry: order.index(entry.number) if entry.number in ordered else len(order),
    )
    most = max(verdict.entries, key=lambda entry: len(entry.run.images))
    right = most.clean.acc.share
    clean = Bar("no attack", "", f"{percent(right)} right", (0.0, 1 - right, right), None)
    return [clean, *(_bar(entry) for entry in entries)]


def summary(verdicts: Sequence[Verdict], theme: Theme = LIGHT) -> Figure:
    """Draw the bars of all verdicts as one picture."""
    charts = [bars(verdict) for verdict in verdicts]
    count = sum(1 + len(chart) for chart in charts)
    drawn = Figure(figsize=(9, 0.7 + _BAR_INCHES * count), layout="constrained")
    drawn.set_facecolor(theme.ground)
    axes = drawn.subplots()
    colours = (theme.gained, theme.wrong, theme.right)
    names: dict[int, str] = {}
    place = 0
    for verdict, chart in zip(verdicts, charts, strict=True):
        title = _literal(verdict.title)
        axes.text(0, place + 0.1, title, va="center", fontweight="bold", color=theme.ink)
        for bar in chart:
            place += 1
            left = 0.0
            for share, colour in zip(bar.shares, colours, strict=True):
                axes.barh(place, 100 * share, left=left, height=0.64, color=colour)
                left += 100 * share
            axes.text(102, place, bar.figure, va="center", fontsize=9, color=theme.ink)
            note = fill(bar.note, _NOTE_CHARACTERS, break_on_hyphens=False)
            names[place] = _literal(f"{bar.label}\n{note}" if note else bar.label)
        place += 1
    axes.set_yticks([*names], [*names.values()], fontsize=8)
    axes.set_ylim(place - 0.5, -0.5)
    axes.set_xlim(0, 100)
    axes.set_xticks([])
    axes.tick_params(colors=theme.ink, length=0)
    axes.set_facecolor(theme.ground)
    for spine in axes.spines.values():
        spine.set_visible(False)
    drawn.legend(
        handles=[Patch(color=c, label=name) for name, c in zip(PARTS, colours, strict=True)],
        title="Of all answers to the attacked images",
        title_fontproperties={"size": 9},
        alignment="left",
        loc="outside upper left",
        ncols=3,
        frameon=False,
        fontsize=9,
        labelcolor=theme.ink,
    ).get_title().set_color(theme.ink)
    return drawn


def _bar(entry: Entry) -> Bar:
    rates: Rates = entry.final
    right = rates.acc.share
    gained = rates.asr.share if entry.run.attack.targeted else 0.0
    notes = [IN_SHORT[attacker_of(entry.run)], stripes(entry.run)]
    if entry.state == "failed":
        notes.append(f"{MARKS['failed']} {unmet(entry)}")
    what = "the attacker's" if entry.run.attack.targeted else "wrong"
    return Bar(
        entry.attack,
        "; ".join(filter(None, notes)),
        f"{rate(rates.asr)} {what}",
        (gained, max(0.0, 1 - right - gained), right),
        entry,
    )


def _literal(text: str) -> str:
    return text.replace("$", r"\$")
