"""Runs as GitHub Markdown, and as a table for the terminal."""

import re
from collections.abc import Iterable, Sequence

from rich.console import Group as Together
from rich.console import RenderableType
from rich.table import Table as Terminal
from rich.text import Text

from harness.rates import Rates
from harness.report import tables
from harness.report.groups import MARKS, CheckState, Entry, Group, grouped, plain
from harness.report.verdict import Sentence, Verdict, verdicts
from harness.results import Check, Run

_NAME = r"`[A-Za-z][A-Za-z-]*`"  # the name of a check
_SPECIAL = re.compile(_NAME + r"|[\\`*_<>|~#&$]|\[(?!\d+…\d+\])")  # an interval is not a link
_STYLES: dict[CheckState, str] = {"passed": "green", "failed": "bold red", "unchecked": "yellow"}


def markdown(runs: Sequence[Run]) -> str:
    """Return the verdict, the results, the worst cases, and the checks as Markdown.

    Raises:
        RunError: there are no runs, or a run lacks something that a report needs.
    """
    groups = grouped(runs)
    parts = [part for verdict in verdicts(groups) for part in _opening(verdict)]
    parts += [part for group in groups for part in _section(group)]
    return "\n\n".join(parts) + "\n"


def terminal(runs: Sequence[Run]) -> RenderableType:
    """Return the verdict, and a row for the clean photographs of each defence and for each run.

    Raises:
        RunError: there are no runs, or a run lacks something that a report needs.
    """
    groups = grouped(runs)
    return Together(*map(_verdict, verdicts(groups)), *map(_table_of, groups))


def _verdict(verdict: Verdict) -> Text:
    lines = [Text(verdict.title, style="bold"), *(Text(s.text) for s in verdict.headline)]
    lines += [Text(f"- {_with_basis(sentence)}", style="dim") for sentence in verdict.remarks]
    return Text("\n").join([*lines, Text()])


def _with_basis(sentence: Sentence) -> str:
    return f"{sentence.text} ({sentence.basis})" if sentence.basis else sentence.text


def _table_of(group: Group) -> Terminal:
    table = Terminal(title=Text(group.title), title_justify="left")
    for name in ("Attack", "Defence"):
        table.add_column(name)
    for name in ("ACC", tables.asr_heading(group.entries), "l2"):
        table.add_column(name, justify="right")
    table.add_column("Checks")
    defenses = {entry.defense: entry for entry in group.entries}
    for entry in defenses.values():
        table.add_row("clean", *_figures(entry, entry.clean), "")
    for entry in group.entries:
        marked = Text(_marked(entry), style=_STYLES[entry.state])
        table.add_row(Text(_attack(entry)), *_figures(entry, entry.final), marked)
    return table


def _figures(entry: Entry, rates: Rates) -> tuple[Text, ...]:
    return (
        Text(entry.defense),
        Text(tables.percent(rates.acc.share)),
        Text(tables.rate(rates.asr)),
        Text(f"{rates.l2_rms:.3g}"),
    )


def _attack(entry: Entry) -> str:
    return "\n".join(filter(None, (entry.attack, tables.stripes(entry.run))))


def _marked(entry: Entry) -> str:
    summary = tables.checks(entry)
    return f"{MARKS['passed']} {summary}" if entry.state == "passed" else summary


def _opening(verdict: Verdict) -> Iterable[str]:
    yield f"## Verdict: {escape(verdict.title)}"
    yield f"**{escape(verdict.text)}**"
    yield "\n".join(f"- {escape(_with_basis(each))}" for each in verdict.remarks)


def _section(group: Group) -> Iterable[str]:
    yield f"## {escape(group.title)}"
    for table in (tables.results(group), tables.worst(group)):
        yield f"**{escape(table.caption)}**"
        yield _table(table)
    yield "**Sanity checks**"
    yield "\n".join(_checks(group))


def _table(table: tables.Table) -> str:
    rules = ["---"] * table.words + ["--:"] * (len(table.headings) - table.words - 1) + ["---"]
    lines = [[escape(heading) for heading in table.headings], rules]
    lines += [[_cell(cell) for cell in row.cells[:-1]] + [_last(row)] for row in table.rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(cell: tables.Cell) -> str:
    return escape(cell.text + (f" ({cell.note})" if cell.note else ""))


def _last(row: tables.Row) -> str:
    checks = _cell(row.cells[-1])
    return checks if row.state == "passed" else f"**{checks}**"


def _checks(group: Group) -> Iterable[str]:
    for entry in group.entries:
        yield f"- {escape(entry.label)}: {'' if entry.run.checks else 'no check was done'}".rstrip()
        for check in entry.run.checks:
            yield f"  - {_outcome(check)}: {escape(plain(check.detail))}"


def _outcome(check: Check) -> str:
    name = escape(plain(check.name))
    if check.passed is None:
        return f"– {name}{'' if check.measured else ' not done'}"
    return (
        f"{MARKS['passed']} {name} met"
        if check.passed
        else f"**{MARKS['failed']} check {name} not met**"
    )


def escape(text: str) -> str:
    """Escape text so that Markdown shows it unchanged; `names` in it are code."""
    return _SPECIAL.sub(lambda found: found[0] if len(found[0]) > 1 else f"\\{found[0]}", text)
