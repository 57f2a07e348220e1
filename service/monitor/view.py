"""The tables of ``warpguard watch``."""

import math
from datetime import datetime

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from service.monitor.clients import Client, Clients
from service.monitor.figures import Figures

_MOST_CLIENTS = 20
_MOST_EVENTS = 5
SERVER_LINES = 11
"""How many lines :func:`server` takes."""
_SEVERE = {"High": "bold red", "Critical": "bold red", "Medium": "yellow"}


def clean(text: str) -> str:
    """Replace the characters that a terminal would not print, but obey, by their escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def server(url: str, found: Figures, now_s: float) -> RenderableType:
    """The server, and what its signals have counted."""
    model = f"{found.model} on {found.provider}" if found.model else "no model yet"
    head = Text(f"{_clock(now_s)}  {clean(url)}  ", "bold")
    head.append("ready" if found.is_ready else "not ready", "green" if found.is_ready else "red")
    defenses = ", ".join(map(clean, found.defenses)) or "no image yet"
    over = "since the start" if found.since_start else f"last {found.over_s:.1f} s"
    lines = [
        head,
        Text(f"{clean(model)}, defended with: {defenses}"),
        Text(
            f"{over}: {_number(found.images_per_s, '.1f')} images/s, "
            f"{_number(found.draws_per_s, '.1f')} draws/s, "
            f"p50 {_number(found.p50_ms, '.0f')} ms, p99 {_number(found.p99_ms, '.0f')} ms"
        ),
        Text(
            f"  {_number(found.errors_per_s, '.1f')} errors/s, agreement "
            f"{_number(found.agreement, '.2f')}; now {found.in_flight} of {found.in_flight_limit} "
            f"in flight, {found.queued} waiting"
        ),
        Text(),
    ]
    return Group(*lines, _signals(found))


def _signals(found: Figures) -> RenderableType:
    if not any(each.images for each in found.signals) and not sum(found.skipped.values()):
        return Text("The signals have looked at no image. They are off without --alarm.", "dim")
    table = _table("signal", "images", "flagged", "events", right=3)
    for each in found.signals:
        style = "yellow" if each.events else ""
        cells = map("{:,}".format, (each.images, each.flagged, each.events))
        table.add_row(each.name, *cells, style=style)
    skipped = ", ".join(f"{count:,} {reason}" for reason, count in found.skipped.items())
    return Group(
        table, Text(f"far: {found.far:,}; kept: {found.kept:,}; skipped: {skipped}", "dim")
    )


def stream(found: Clients, now_s: float, height: int | None = None) -> RenderableType:
    """The clients, and the last events.

    Args:
        found: what is known of them.
        now_s: in seconds since 1970.
        height: how many lines there are for it; None for as many as it needs.
    """
    clients = _MOST_CLIENTS if height is None else max(1, (height - 5) // 2)
    events = _MOST_EVENTS if height is None else max(1, (height - 3 - clients) // 2)
    parts: list[RenderableType] = []
    if found.unread:
        parts.append(
            Text(f"{found.unread:,} lines are not events and not a log as JSON.", "yellow")
        )
    ranked = found.ranked()
    if not ranked:
        parts.append(Text("No client has an event.", "dim"))
        return Group(*parts)
    table = _table("client", "images/s", "events", "images of the last event", "last seen")
    for name, client in ranked[:clients]:
        table.add_row(*_row(name, client, found, now_s))
    parts.append(table)
    if len(ranked) > clients:
        parts.append(Text(f"and {len(ranked) - clients:,} more clients", "dim"))
    if found.events:
        parts.append(Text("last events", "bold"))
    for event in list(found.events)[:events]:
        line = Text(f"{_clock(event.at_s)} ")
        line.append(clean(event.severity), _SEVERE.get(event.severity, ""))
        parts.append(line.append(f": {clean(event.message)}"))
    return Group(*parts)


def _row(name: str, client: Client, found: Clients, now_s: float) -> list[Text]:
    rate = client.images_per_s(now_s) if found.has_access_log else math.nan
    last = client.last.images if client.last else {}
    images = ", ".join(f"{clean(signal)} {count:,}" for signal, count in last.items())
    cells = (clean(name), _number(rate, ".1f"), f"{client.events:,}", images, _clock(client.seen_s))
    return [Text(cell, "yellow" if client.last else "") for cell in cells]


def _table(*headings: str, right: int = 2) -> Table:
    """A table without lines, of which some columns after the first have numbers."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for number, heading in enumerate(headings):
        is_number = 0 < number <= right
        table.add_column(heading, justify="right" if is_number else "left", overflow="fold")
    return table


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)


def _clock(at_s: float) -> str:
    """The time in the local zone, with its date unless that is today."""
    try:
        at = datetime.fromtimestamp(at_s).astimezone()
    except (ValueError, OverflowError, OSError):
        return "?"
    today = datetime.now().astimezone().date()
    return at.strftime("%H:%M:%S" if at.date() == today else "%Y-%m-%d %H:%M:%S")
