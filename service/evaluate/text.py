"""A report for the terminal, and as Markdown."""

from collections.abc import Iterable, Sequence

from rich.box import SIMPLE_HEAD
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.evaluate import figures
from service.evaluate.conditions import NONE
from service.evaluate.recommendation import recommend
from service.evaluate.report import Report, Row, Selective

Cell = tuple[str, str]
"""A figure, and its interval or nothing."""

HEADINGS = ("", "draws", "top-1", "top-5", "points", "agree", "ms", "images/s")

SELECTIVE = (
    "Answers of whose draws at least so many have the answer's class: their share of all answers, "
    "and how many of them are right. A server shows the agreement of each answer, so a caller can "
    "leave the others to a person."
)


def cells(row: Row) -> list[Cell]:
    """Return the cells of a row, in the order of :data:`HEADINGS`."""
    bare = row.name == NONE
    with_cost = row.kind == "defense"
    return [
        (row.name, ""),
        (str(row.draws) if row.drawn else "", ""),
        figures.rate(row.top1),
        figures.rate(row.top5),
        ("", "") if bare else figures.difference(row.difference),
        ("" if row.agreement is None else figures.percent(row.agreement), ""),
        (figures.number(row.ms) if with_cost else "", ""),
        (figures.number(row.images_per_s) if with_cost else "", ""),
    ]


def explanation(report: Report) -> str:
    """Return what the columns mean."""
    return (
        f"{report.images} images of {report.data} on {report.model}, with 95 % intervals. points: "
        "top-1 minus top-1 without a defence, in percentage points. agree: the draws with the "
        f"answer's class. ms and images/s: {report.cost}."
    )


def selective(each: Selective) -> str:
    """Write a selective accuracy."""
    right = "" if each.right is None else f", {100 * each.right:.0f} % right"
    return f"{100 * each.answered:.0f} %{right}"


def selective_rows(report: Report) -> list[Row]:
    """Return the rows that have selective accuracies."""
    return [row for row in report.rows if row.selective]


def selective_headings(rows: Sequence[Row]) -> list[str]:
    """Return the headings of the selective accuracies."""
    return [
        "all agree" if each.agreement == 1 else f"{100 * each.agreement:g} % or more"
        for each in rows[0].selective
    ]


def terminal(report: Report) -> RenderableType:
    """Return the tables, and the recommendation at the end."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    for number, heading in enumerate(HEADINGS):
        table.add_column(heading, justify="right" if number else "left", overflow="fold")
    for number, row in enumerate(report.rows):
        if row.kind != report.rows[max(0, number - 1)].kind:
            table.add_section()
        table.add_row(*("\n".join(filter(None, cell)) for cell in cells(row)))
    parts: list[RenderableType] = [table, Text(explanation(report) + "\n", style="dim")]
    if rows := selective_rows(report):
        answers = Table(box=SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
        for heading in ("", "draws", *selective_headings(rows)):
            answers.add_column(heading)
        for row in rows:
            answers.add_row(row.name, str(row.draws), *map(selective, row.selective))
        parts += [answers, Text(SELECTIVE + "\n", style="dim")]
    advice = recommend(report)
    parts += [Text(each, style="yellow") for each in remarks(report)]
    parts.append(Text(advice.sentence, style="bold"))
    if advice.flags:
        parts.append(Text(f"  warpguard serve {advice.flags}"))
    return Group(*parts)


def remarks(report: Report) -> Iterable[str]:
    """Return a sentence for whatever was left out."""
    yield from report.notes
    if report.unreadable:
        count = len(report.unreadable)
        yield (
            f"{count} file{'s are' if count > 1 else ' is'} left out, because "
            f"{'they' if count > 1 else 'it'} cannot be classified: "
            + "; ".join(f"{each.file} ({each.message})" for each in report.unreadable[:3])
            + ("; …" if count > 3 else "")
        )


def markdown(report: Report) -> str:
    """Return the table of defences as GitHub Markdown."""
    headings = ("", *HEADINGS[1:])
    lines = [_line(headings), _line(["---", *["--:"] * (len(headings) - 1)])]
    lines += [_line([_code(row), *_joined(cells(row)[1:])]) for row in report.rows]
    return "\n".join(lines) + "\n"


def _code(row: Row) -> str:
    return f"`{row.name}`" if row.kind == "defense" else row.name


def _joined(some: Iterable[Cell]) -> list[str]:
    return [" ".join(filter(None, cell)) for cell in some]


def _line(some: Iterable[str]) -> str:
    return f"| {' | '.join(some)} |"
