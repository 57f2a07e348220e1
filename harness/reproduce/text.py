"""A reproduction as a Markdown table, as a table for the terminal, and as plots."""

from rich.table import Table

from harness.report.figures import FORMATS, MEASURES, drawn_as
from harness.report.figures import figure as by_round
from harness.report.groups import grouped
from harness.reproduce.outcome import Figure, Reproduction
from harness.reproduce.published import FIGURE_3, PHOTOGRAPHS
from harness.results import Run

_ITERATED = ("l-bfgs", "cw")
_MEANINGLESS = " (a test that everything works; the figures mean nothing)"
NOTHING = "–"
DIFFERS = "≠"
LEGEND = (
    "Each cell: our figure / the paper's figure. Our shares have their 95 % interval by "
    f"photographs. {NOTHING}: the paper has no figure. {DIFFERS}: our interval and the interval of "
    f"the paper's {PHOTOGRAPHS} photographs do not overlap"
)


def markdown(done: Reproduction) -> str:
    """Return one item as Markdown."""
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
    lines += ["", *(f"- {note}" for note in (*done.notes, f"{LEGEND}."))]
    return "\n".join(lines) + "\n"


def terminal(done: Reproduction) -> Table:
    """Return one item for the terminal, without the intervals."""
    columns = dict.fromkeys(figure.column for figure in done.figures)
    table = Table(
        "",
        *columns,
        title=done.title,
        caption=f"{about(done)}. Ours / the paper's, shares in percent. {DIFFERS}: the difference "
        "is larger than the number of photographs can explain.",
        show_lines=True,
    )
    for row in dict.fromkeys(figure.row for figure in done.figures):
        here = [figure for figure in done.figures if figure.row == row]
        parts = ["\n".join(_short(f) for f in here if f.column == each) for each in columns]
        table.add_row(row, *parts)
    return table


def plots(done: Reproduction) -> dict[str, bytes]:
    """Return files by name: for Fig. 3 ACC and ASR of each attack in three formats."""
    if done.item != "fig3":
        return {}
    attacks = [name for name, each in FIGURE_3.items() for _ in each]
    runs = [_until(run, done.scale[1]["rounds"]) for run in done.runs]
    drawn = {}
    for letters, name in zip(("ab", "cd", "ef"), FIGURE_3, strict=True):
        of_attack = [run for run, attack in zip(runs, attacks, strict=True) if attack == name]
        group, *_ = grouped(of_attack)
        for letter, measure in zip(letters, MEASURES, strict=True):
            drawn[f"fig3{letter}-{name}-{measure}"] = by_round(group, measure)
    return {
        f"{name}.{format_}": drawn_as(each, format_)
        for name, each in drawn.items()
        for format_ in FORMATS
    }


def _until(run: Run, rounds: int) -> Run:
    """Return a run without its scores after some round."""
    images = [
        image.model_copy(
            update={"scores": tuple(score for score in image.scores if score.round <= rounds)}
        )
        for image in run.images
    ]
    return run.model_copy(update={"images": tuple(images)})


def about(done: Reproduction) -> str:
    """Summarise the model, the photographs and the scale."""
    name, numbers = done.scale
    count = done.dataset.selected
    parts = [
        done.model,
        f"{count} photograph{'s' if count > 1 else ''} of {done.dataset.name}",
        f"scale {name}{_MEANINGLESS if name == 'smoke' else ''}",
        f"each image posted {numbers['scoring_draws']}x (1x without a defence)",
    ]
    attacks = [run.attack for run in done.runs]
    iterated = dict.fromkeys(each.name for each in attacks if each.name in _ITERATED)
    parts += [f"{each} with {numbers['iterations'][each]} iterations a step" for each in iterated]
    if rounds := {each.parameters["rounds"] for each in attacks} - {1}:
        parts.append(f"{_either(rounds)} rounds")
    if draws := {each.parameters["draws"] for each in attacks if "draws" in each.parameters}:
        parts.append(f"{_either(draws)} draws a gradient")
    return ", ".join(parts)


def _either(numbers: set[int]) -> str:
    return " or ".join(map(str, sorted(numbers)))


def cell(figure: Figure) -> str:
    """Format one figure: ``95 [76…99] / 97``."""
    interval = ""
    if figure.low is not None and figure.high is not None:
        interval = f" [{100 * figure.low:.0f}…{100 * figure.high:.0f}]"
    return f"{_number(figure, figure.ours)}{interval} / {_paper(figure)}"


def _short(figure: Figure) -> str:
    """Format one figure without its interval, with the measure unless the column names it."""
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
