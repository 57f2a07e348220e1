"""Plots of ACC and ASR: lines by round, as in the paper's Fig. 3, and bars for runs of one."""

from collections.abc import Sequence
from io import BytesIO
from typing import Any, Literal, TypeAlias

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from harness.rates import Rate
from harness.report.groups import MARKS, Entry, Group
from harness.report.styles import LIGHT, Style, Theme, styles
from harness.report.tables import asr_heading, percent, unmet

Measure: TypeAlias = Literal["acc", "asr"]
MEASURES: tuple[Measure, ...] = ("acc", "asr")
FORMATS = ("png", "svg", "pdf")

_WIDE = 20  # the axis is logarithmic if the numbers of rounds differ by more than this factor
_DPI = 144
_WIDTH_INCHES = 7.2
_LINES_INCHES = 3.9
_BAR_INCHES = 0.3
# Without these, each file would hold the time and random names.
_UNDATED: dict[str, dict[str, None]] = {
    "png": {"Software": None},
    "svg": {"Date": None},
    "pdf": {"CreationDate": None},
}


def drawn_as(drawn: Figure, format_: str) -> bytes:
    """Return a figure as a PNG, SVG or PDF file, with the same bytes every time."""
    buffer = BytesIO()
    with rc_context({"svg.hashsalt": "warpguard"}):
        drawn.savefig(buffer, format=format_, dpi=_DPI, metadata=_UNDATED[format_])
    return buffer.getvalue()


def figure(group: Group, measure: Measure, theme: Theme = LIGHT) -> Figure:
    """Plot one measure with its intervals.

    A run is a line if at least two rounds after the clean image were scored, and otherwise a bar.
    """
    lines = [entry for entry in group.entries if has_line(entry)]
    bars = [entry for entry in group.entries if not has_line(entry)]
    heights = [_LINES_INCHES + 0.2 * len(lines)] * bool(lines)
    heights += [0.7 + _BAR_INCHES * len(bars)] * bool(bars)
    drawn = Figure(figsize=(_WIDTH_INCHES, 0.4 + sum(heights)), dpi=_DPI, layout="constrained")
    drawn.set_facecolor(theme.ground)
    words = "Accuracy (ACC)" if measure == "acc" else "Attack success rate (ASR)"
    title = f"{words} on {group.title}"
    drawn.suptitle(_literal(title), x=0.01, ha="left", fontsize=10, color=theme.ink)
    parts = list(drawn.subplots(len(heights), squeeze=False, height_ratios=heights)[:, 0])
    by_number = styles(group.entries)
    unit = "ACC, %" if measure == "acc" else f"{asr_heading(group.entries)}, %"
    if lines:
        _draw_lines(parts.pop(0), lines, measure, by_number, theme, unit)
    if bars:
        _draw_bars(parts.pop(0), bars, measure, by_number, theme, unit)
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


def _draw_lines(
    axes: Axes,
    entries: Sequence[Entry],
    measure: Measure,
    by_number: dict[int, Style],
    theme: Theme,
    unit: str,
) -> None:
    for entry in entries:
        style = by_number[entry.number]
        rounds = list(entry.by_round)
        shown: list[Rate] = [getattr(each, measure) for each in entry.by_round.values()]
        low, high = [100 * each.low for each in shown], [100 * each.high for each in shown]
        alpha = 0.14 if len(entries) <= 6 else 0.07
        axes.fill_between(rounds, low, high, color=style.colour, alpha=alpha, linewidth=0)
        axes.plot(
            rounds,
            [100 * each.share for each in shown],
            label=_literal(_name(entry)),
            color=style.colour,
            linestyle=style.dash,
            linewidth=1.8,
            marker=style.marker,
            markersize=5,
            markeredgewidth=1.2 if entry.state == "failed" else 0,
            markerfacecolor=theme.ground if entry.state == "failed" else style.colour,
            markevery=max(1, len(rounds) // 12),
        )
    lasts = [entry.last_round for entry in entries]
    if max(lasts) > _WIDE * min(lasts):
        axes.set_xscale("symlog", linthresh=10)
        axes.xaxis.set_major_formatter("{x:g}")
    axes.set_xlim(0, max(lasts) * 1.02)
    axes.set_ylim(-2, 102)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(unit, color=theme.ink, fontsize=9)
    axes.set_xlabel(
        "round (0: clean image)   bands: 95 % Wilson intervals", color=theme.ink, fontsize=9
    )
    _dress(axes, theme, axis="both")
    _, labels = axes.get_legend_handles_labels()
    axes.legend(
        loc="upper left",
        bbox_to_anchor=(-0.08, -0.14),
        ncols=2 if max(map(len, labels)) < 44 else 1,
        frameon=False,
        fontsize=8.5,
        labelcolor=theme.ink,
        handlelength=4,
    )


def _draw_bars(
    axes: Axes,
    entries: Sequence[Entry],
    measure: Measure,
    by_number: dict[int, Style],
    theme: Theme,
    unit: str,
) -> None:
    """Draw a bar with its interval for each run, and a mark where the clean images are."""
    for place, entry in enumerate(entries):
        colour = by_number[entry.number].colour
        shown, clean = getattr(entry.final, measure), getattr(entry.clean, measure)
        look: dict[str, Any] = {"color": colour}
        if entry.state == "failed":
            look = {"facecolor": theme.ground, "edgecolor": colour, "hatch": "///"}
        axes.barh(place, 100 * shown.share, height=0.6, **look)
        axes.hlines(place, 100 * shown.low, 100 * shown.high, color=theme.ink, linewidth=1.2)
        axes.plot(100 * clean.share, place, marker="|", markersize=13, color=theme.ink)
        # On the axes, and not on the data, so that no bar and no interval crosses the figure.
        axes.text(
            1.015,
            place,
            percent(shown.share),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
            color=theme.ink,
        )
    names = [_literal(_name(entry)) for entry in entries]
    axes.set_yticks(range(len(entries)), names, fontsize=8.5)
    axes.set_ylim(len(entries) - 0.4, -0.6)
    axes.set_xlim(-1, 101)
    axes.set_xlabel(
        f"{unit} of the final images   |: clean image   thin lines: 95 % Wilson intervals",
        color=theme.ink,
        fontsize=8.5,
    )
    _dress(axes, theme, axis="x")


def _name(entry: Entry) -> str:
    marks = {"passed": "", "failed": unmet(entry), "unchecked": "not checked"}[entry.state]
    return entry.label + (f"  {MARKS[entry.state]} {marks}" if marks else "")


def _dress(axes: Axes, theme: Theme, axis: Literal["both", "x"]) -> None:
    axes.grid(axis=axis, color=theme.faint, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.tick_params(colors=theme.ink, labelsize=8.5, length=0)
    axes.set_facecolor(theme.ground)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(theme.faint)


def _literal(text: str) -> str:
    """Escape what matplotlib would take for mathematics."""
    return text.replace("$", r"\$")
