"""The measurement as tables, the worst row first: in Markdown, and on the terminal."""

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from harness.signals.outcome import COMPARING, SQUEEZE, SQUEEZE_THRESHOLD, KindRecord, Measurement

_HEADINGS = ("posts", *COMPARING, SQUEEZE, "first event", "wrong")


def markdown(done: Measurement) -> str:
    """Return a table of the attackers and one of ordinary traffic, as Markdown.

    An attacker's row is the worse the fewer of its posts are noticed. A row of ordinary traffic is
    the worse the more are.
    """
    return "\n".join(_markdown(title, kinds) for title, kinds in _tables(done) if kinds)


def terminal(done: Measurement) -> RenderableType:
    """Return the same tables for the terminal."""
    shown = []
    for title, kinds in _tables(done):
        if not kinds:
            continue
        table = Table(title=Text(title), title_justify="left")
        table.add_column("what")
        for name in _HEADINGS:
            table.add_column(name, justify="right")
        for kind in kinds:
            table.add_row(Text(kind.summary), *map(Text, _cells(kind)))
        shown.append(table)
    return Group(*shown)


def _tables(done: Measurement) -> list[tuple[str, list[KindRecord]]]:
    attackers = [kind for kind in done.kinds if kind.who != "ordinary"]
    ordinary = [kind for kind in done.kinds if kind.who == "ordinary"]
    attackers.sort(key=lambda kind: (_event_share(kind), kind.noticed, -kind.wrong))
    ordinary.sort(key=lambda kind: (-_event_share(kind), -kind.noticed))
    return [("attackers", attackers), ("ordinary traffic", ordinary)]


def _event_share(kind: KindRecord) -> float:
    return kind.clients_with_event / len(kind.clients)


def _markdown(title: str, kinds: Iterable[KindRecord]) -> str:
    names = [f"`{each}`" if each in (*COMPARING, SQUEEZE) else each for each in _HEADINGS]
    lines = [_row(title, *names), _row("---", *("---:" for _ in names))]
    lines += [_row(kind.summary, *_cells(kind)) for kind in kinds]
    return "\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _cells(kind: KindRecord) -> tuple[str, ...]:
    return (
        _posts(kind),
        *(_flagged(kind, signal) for signal in COMPARING),
        _squeezed(kind),
        _first_event(kind),
        f"{100 * kind.wrong:.0f} %",
    )


def _posts(kind: KindRecord) -> str:
    repeated = kind.different < kind.posts
    return f"{kind.posts:,} ({kind.different:,} different)" if repeated else f"{kind.posts:,}"


def _flagged(kind: KindRecord, signal: str) -> str:
    """Such as ``83 % from post 21``: the share of the posts, and the first one."""
    firsts = kind.firsts(signal)
    if not firsts:
        return "none"
    return f"{100 * kind.flagged(signal):.0f} % from post {_range(firsts)}"


def _squeezed(kind: KindRecord) -> str:
    if kind.far is None:
        return "not measured"
    percent = f"{100 * kind.far:.1f} % over {SQUEEZE_THRESHOLD:g}"
    firsts = kind.firsts(SQUEEZE)
    return f"{percent}, event from post {_range(firsts)}" if firsts else percent


def _first_event(kind: KindRecord) -> str:
    """Such as ``post 21``, or ``post 21–35 of 1 of 2``, if not all clients raised one."""
    firsts = sorted(each.events[0] for each in kind.clients if each.events)
    if not firsts:
        return "never"
    post = f"post {_range(firsts)}"
    clients = len(kind.clients)
    return post if len(firsts) == clients else f"{post}, {len(firsts)} of {clients} clients"


def _range(numbers: list[int]) -> str:
    low, high = numbers[0], numbers[-1]
    return str(low) if low == high else f"{low}–{high}"
