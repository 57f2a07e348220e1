"""The tables fit a terminal, and show no character that a terminal obeys."""

import io
import json

import pytest
from rich.console import Console

from service.monitor import view
from service.monitor.clients import Clients
from service.monitor.figures import figures
from service.telemetry.metrics import Metrics
from tests.service.monitor.test_figures import answer, scrape
from tests.service.signals.test_event import event

ESCAPES = "\x1b[2J\x07\r\n\x9b31m\u202e[red]a[/red]"


def shown(renderable, terminal=False):
    console = Console(file=io.StringIO(), width=80, force_terminal=terminal)
    console.print(renderable)
    return console.file.getvalue()


def clients(*names):
    found = Clients()
    found.take(json.dumps(event(name)).encode() for name in names)
    return found


def test_no_control_character_is_shown():
    metrics = Metrics("1")
    metrics.model.info({"name": ESCAPES, "provider": ESCAPES})
    metrics.expect([ESCAPES], 1)
    metrics.images.labels(ESCAPES).inc()
    texts = [
        shown(view.server(ESCAPES, figures(scrape(metrics, 9.0)), 9.0)),
        shown(view.stream(clients(ESCAPES), 9.0)),
    ]
    for text in texts:
        assert "\\x1b[2J" in text.replace("\n", "")
        assert "[red]a[/red]" in text.replace("\n", "")
        assert {c for c in text if not c.isprintable()} == {"\n"}


def test_it_fits_80_columns_and_24_lines():
    metrics = Metrics("1")
    metrics.model.info({"name": "efficientnet-lite2", "provider": "CPUExecutionProvider"})
    answer(metrics, 300)
    metrics.expect(["fd"], 256)
    metrics.signals.neighbors("same-picture", 3)
    server = shown(view.server("http://127.0.0.1:9090", figures(scrape(metrics, 99.0)), 9.0))
    assert len(server.splitlines()) == view.SERVER_LINES - 1  # an empty one follows
    stream = view.stream(clients(*map(str, range(30))), 9.0, 24 - view.SERVER_LINES)
    lines = [*server.splitlines(), "", *shown(stream).splitlines()]
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert "and 26 more clients" in lines


@pytest.mark.parametrize("terminal", [False, True])
def test_colours_are_for_terminals(terminal):
    assert ("\x1b[" in shown(view.stream(clients("shop"), 9.0), terminal)) == terminal


def test_a_server_without_signals_says_so():
    text = shown(view.server("http://a", figures(scrape(Metrics("1"), 9.0)), 9.0))
    assert "off without --alarm" in text
    assert "no model yet" in text


def test_lines_that_are_not_events_are_named():
    found = Clients()
    found.take([b"text"])
    text = shown(view.stream(found, 9.0))
    assert "1 lines are not events" in text
    assert "No client has an event." in text
