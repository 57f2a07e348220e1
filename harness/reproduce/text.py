"""A reproduction as tables, ours beside the paper's, in Markdown and on a terminal; and plots."""

from rich.table import Table

from harness.report import plots as by_round
from harness.reproduce.outcome import Figure, Reproduction
from harness.reproduce.published import FIGURE_3, PHOTOGRAPHS

NOTHING = "–"
DIFFERS = "≠"
LEGEND = (
    "Each cell: ours with its 95 % interval by photographs, and after the stroke the paper's "
    f"({NOTHING}: it has none). {DIFFERS} marks shares that differ by more than the photographs "
    f"leave open, the paper's {PHOTOGRAPHS} included"
)


def markdown(done: Reproduction) -> str:
    """One item as Markdown."""
    columns = dict.fromkeys((figure.column, figure.measure) for figure in done.figures)
    cells = {(f.row, f.column, f.measure): cell(f) for f in done.figures}
    shares = {figure.measure for figure in done.figures if figure.is_share}
    headings = [
        f"{'' if column == measure else f'{column}: '}{measure}{', %' if measure in shares else ''}"
        for column, measure in columns
    ]
    rows = [
        [row, *(cells.get((row, *key), "") for key in columns)]
        for row in dict.fromkeys(figure.row for figure in done.figures)
    ]
    lines = [f"### {done.title}", "", f"{about(done)}.", ""]
    lines += [_line(["", *headings]), _line(["---"] * (1 + len(headings))), *map(_line, rows)]
    lines += ["", *(f"- {note}" for note in done.notes)]
    return "\n".join(lines) + "\n"


def terminal(done: Reproduction) -> Table:
    """One item for the terminal, without the intervals."""
    columns = dict.fromkeys(figure.column for figure in done.figures)
    table = Table(
        "",
        *columns,
        title=done.title,
        caption=f"{about(done)}. Ours / the paper's, shares in percent, {DIFFERS} where they "
        "differ by more than the photographs leave open.",
        show_lines=True,
    )
    for row in dict.fromkeys(figure.row for figure in done.figures):
        here = [figure for figure in done.figures if figure.row == row]
        parts = ["\n".join(_short(f) for f in here if f.column == each) for each in columns]
        table.add_row(row, *parts)
    return table


def plots(done: Reproduction) -> dict[str, bytes]:
    """PNG files by name: ACC and ASR by round, a pair for each attack of Fig. 3; else none.

    ASR is on fresh draws there: a line of first hits could only rise.
    """
    if done.item != "fig3":
        return {}
    attacks = [name for name, each in FIGURE_3.items() for _ in each]
    drawn = {}
    for letters, name in zip(("ab", "cd", "ef"), FIGURE_3, strict=True):
        pair = by_round([r for r, attack in zip(done.runs, attacks, strict=True) if attack == name])
        for letter, measure in zip(letters, ("acc", "asr"), strict=True):
            drawn[f"fig3{letter}-{name}-{measure}.png"] = pair[f"{measure}-by-round.png"]
    return drawn


def about(done: Reproduction) -> str:
    """The model, the photographs and the scale, in short."""
    name, numbers = done.scale
    count = done.dataset.selected
    parts = [
        done.model,
        f"{count} photograph{'s' if count > 1 else ''} of {done.dataset.name}",
        f"scale {name}: each image posted {numbers['scoring_draws']}x",
    ]
    if any("draws" in run.attack.parameters for run in done.runs):
        parts.append(f"{numbers['draws']} draws a gradient")
    return ", ".join(parts)


def cell(figure: Figure) -> str:
    """One number: ``95 [76…99] / 97``."""
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f" [{100 * figure.low:.0f}…{100 * figure.high:.0f}]"
    return f"{_number(figure, figure.ours)}{interval} / {_paper(figure)}"


def _short(figure: Figure) -> str:
    """The same without the interval, but with what it is where the column does not say so."""
    name = "" if figure.measure == figure.column else f"{figure.measure} "
    return f"{name}{_number(figure, figure.ours)} / {_paper(figure)}"


def _paper(figure: Figure) -> str:
    if figure.paper is None or figure.paper == "":
        return NOTHING
    return _number(figure, figure.paper) + (f" {DIFFERS}" if figure.differs else "")


def _number(figure: Figure, value: float | str) -> str:
    if isinstance(value, str):
        return value
    return f"{100 * value:.0f}" if figure.is_share else f"{value:.4f}"


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
