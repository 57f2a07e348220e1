"""Plots of ACC and ASR by round, in the form of the paper's Fig. 3."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, Literal, TypeAlias

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.transforms import ScaledTranslation

from harness.rates import Rate
from harness.report.groups import MARKS, Entry, Group, grouped
from harness.report.tables import asr_heading
from harness.results import Run

Measure: TypeAlias = Literal["acc", "asr"]
MEASURES: tuple[Measure, ...] = ("acc", "asr")

# Okabe and Ito 2008, for all kinds of colour vision. Black and yellow are left out, because each
# would vanish on one of the two backgrounds.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
_DASHES: tuple[str | tuple[int, tuple[int, ...]], ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1, 1)),
    (0, (6, 2, 1, 2)),
    (0, (8, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
_MARKERS = ("o", "s", "^", "D", "v", "P", "p", "h")
_FAILED_MARKER = "X"
_WIDE = 20  # the axis is logarithmic if the numbers of rounds differ by more than this factor
_DPI = 144
_BESIDE_INCHES = 0.1


@dataclass(frozen=True)
class Theme:
    """The colours of a plot's background, text and grid."""

    ground: str
    ink: str
    faint: str


LIGHT = Theme(ground="#ffffff", ink="#24292f", faint="#d8dee4")
DARK = Theme(ground="#171b21", ink="#d7dde4", faint="#39414b")


def plots(runs: Sequence[Run]) -> dict[str, bytes]:
    """Return PNG files by name: ``acc-by-round.png`` and ``asr-by-round.png``.

    If the runs form several groups (see :func:`grouped`), each group has its own pair of files,
    such as ``acc-by-round-1.png``, with the group's name in the title.

    Raises:
        RunError: there are no runs, or a run lacks something that a report needs.
    """
    groups = grouped(runs)
    return {
        f"{measure}-by-round{f'-{number}' if len(groups) > 1 else ''}.png": png(
            figure(group, measure)
        )
        for number, group in enumerate(groups, 1)
        for measure in MEASURES
    }


def png(drawn: Figure) -> bytes:
    """Return a figure as a PNG file, with the same bytes every time."""
    buffer = BytesIO()
    drawn.savefig(buffer, format="png", dpi=_DPI, metadata={"Software": None})
    return buffer.getvalue()


def figure(group: Group, measure: Measure, theme: Theme = LIGHT) -> Figure:
    """Plot one measure by round, with its intervals.

    A run is a line if at least two rounds after the clean image were scored, and otherwise a point
    at its last round.
    """
    rows = -(-len(group.entries) // 2)
    drawn = Figure(figsize=(7.2, 4.3 + 0.2 * rows), dpi=_DPI, layout="constrained")
    axes = drawn.subplots()
    attacks = list(dict.fromkeys(entry.attack for entry in group.entries))
    defenses = list(dict.fromkeys(entry.defense for entry in group.entries))
    crowded = len(group.entries) > 6
    points: Counter[int] = Counter()
    longest = max(entry.last_round for entry in group.entries)
    for entry in group.entries:
        attack, defense = attacks.index(entry.attack), defenses.index(entry.defense)
        colour = _COLOURS[(defense if len(defenses) > 1 else attack) % len(_COLOURS)]
        if has_line(entry):
            _line(axes, entry, measure, colour, attack, alpha=0.07 if crowded else 0.14)
        else:
            nth = points[entry.last_round]
            inwards = -nth if entry.last_round > longest / 2 else nth
            _point(axes, entry, measure, colour, attack, beside=inwards)
            points[entry.last_round] += 1
    _dress(axes, group, measure, theme)
    _legend(drawn, axes, theme)
    return drawn


def has_line(entry: Entry) -> bool:
    """Return whether more than one round was scored after the clean image."""
    return len(entry.by_round) > 2


def describe(group: Group, measure: Measure) -> str:
    """Describe a plot in words, for readers who cannot see it."""
    parts = []
    for entry in group.entries:
        clean, final = getattr(entry.clean, measure), getattr(entry.final, measure)
        start = f"from {100 * clean.share:.0f} % " if has_line(entry) else ""
        end = f"{start}to {100 * final.share:.0f} %" if start else f"{100 * final.share:.0f} %"
        parts.append(f"{_name(entry)} {end} at round {entry.last_round}")
    return f"{measure.upper()} by round on {group.title}: {'; '.join(parts)}."


def _style(entry: Entry, colour: str, attack: int) -> dict[str, Any]:
    marker = _FAILED_MARKER if entry.state == "failed" else _MARKERS[attack % len(_MARKERS)]
    return {"label": _name(entry), "color": colour, "marker": marker, "markeredgewidth": 0}


def _line(
    axes: Axes, entry: Entry, measure: Measure, colour: str, attack: int, alpha: float
) -> None:
    rounds = list(entry.by_round)
    shown: list[Rate] = [getattr(each, measure) for each in entry.by_round.values()]
    low, high = [100 * each.low for each in shown], [100 * each.high for each in shown]
    axes.fill_between(rounds, low, high, color=colour, alpha=alpha, linewidth=0)
    axes.plot(
        rounds,
        [100 * each.share for each in shown],
        linestyle=_DASHES[attack % len(_DASHES)],
        linewidth=1.8,
        markersize=6 if entry.state == "failed" else 3.5,
        markevery=max(1, len(rounds) // 12),
        **_style(entry, colour, attack),
    )


def _point(
    axes: Axes, entry: Entry, measure: Measure, colour: str, attack: int, beside: int
) -> None:
    """Draw a point with its interval, shifted so that no point at the same round hides it."""
    shown: Rate = getattr(entry.final, measure)
    round_, low, share, high = entry.last_round, shown.low, shown.share, shown.high
    figure_ = axes.get_figure(root=True)
    assert figure_ is not None  # noqa: S101 - a figure made the axes
    moved = axes.transData + ScaledTranslation(beside * _BESIDE_INCHES, 0, figure_.dpi_scale_trans)
    bar: dict[str, Any] = {"color": colour, "alpha": 0.5, "linewidth": 2, "transform": moved}
    axes.vlines(round_, 100 * low, 100 * high, **bar)
    point = _style(entry, colour, attack) | {"linestyle": "none", "markersize": 6.5}
    axes.plot([round_], [100 * share], transform=moved, **point)


def _name(entry: Entry) -> str:
    marks = {"passed": "", "failed": " checks failed", "unchecked": " not checked"}[entry.state]
    return entry.label + (f"  {MARKS[entry.state]}{marks}" if marks else "")


def _dress(axes: Axes, group: Group, measure: Measure, theme: Theme) -> None:
    lasts = [entry.last_round for entry in group.entries]
    lines = [entry.last_round for entry in group.entries if has_line(entry)]
    longest = max(1, *lasts)
    if longest > _WIDE * min(lines or [longest]):
        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(0, longest * 1.02)
    axes.set_ylim(-2, 102)
    axes.set_yticks(range(0, 101, 20))
    words = "Accuracy (ACC)" if measure == "acc" else "Attack success rate (ASR)"
    axes.set_title(f"{words} by round", loc="left", fontsize=11, fontweight="bold", color=theme.ink)
    axes.set_title(_literal(group.title), loc="right", fontsize=8, color=theme.ink)
    unit = "ACC" if measure == "acc" else asr_heading(group.entries)
    axes.set_ylabel(f"{unit}, %", color=theme.ink, fontsize=9)
    axes.set_xlabel(
        "round (0: clean image)   bands and bars: 95 % Wilson intervals",
        color=theme.ink,
        fontsize=9,
    )
    axes.grid(color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, labelsize=9, length=0)
    axes.set_facecolor(theme.ground)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)


def _legend(drawn: Figure, axes: Axes, theme: Theme) -> None:
    drawn.set_facecolor(theme.ground)
    handles, labels = axes.get_legend_handles_labels()
    longest = max(map(len, labels))
    drawn.legend(
        handles,
        [_literal(label) for label in labels],
        loc="outside lower left",
        ncols=2 if longest < 48 else 1,
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.ink,
        handlelength=3.2,
    )


def _literal(text: str) -> str:
    """Escape what matplotlib would take for mathematics."""
    return text.replace("$", r"\$")
