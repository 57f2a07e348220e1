"""Progress on a terminal, and in a log."""

import io
from types import SimpleNamespace

from rich.console import Console

from harness.cli import progress as module
from harness.cli.progress import progress


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=40)


def test_a_terminal_shows_bars():
    screen = console(True)
    with progress(screen) as bar:
        bar("1/6 noise")("attack", 1, 10)
    assert "1/6 noise: attack" in screen.file.getvalue()


def test_a_log_gets_a_line_every_half_minute(monkeypatch):
    now = 0.0
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: now))
    log = console(False)
    name = "rdg, [a name] that is longer than a line of forty"
    with progress(log) as bar:
        on_progress = bar(name)
        for done, now in enumerate((29.0, 31.0, 45.0, 62.0), 1):  # noqa: B007
            on_progress("attack", done, 10)
    assert log.file.getvalue().splitlines() == [
        f"{name}: attack 2 of 10",
        f"{name}: attack 4 of 10",
    ]
