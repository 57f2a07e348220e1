"""Progress where there is a terminal, and where there is none."""

import io
from types import SimpleNamespace

from rich.console import Console

from harness import progress as module
from harness.cli.progress import progress


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=40)


def test_bars_on_a_terminal():
    screen = console(True)
    with progress(screen) as bar:
        bar("1/6 noise")("attack", 1, 10)
    assert "1/6 noise: attack" in screen.file.getvalue()


def test_a_line_now_and_then_without_one(monkeypatch):
    clock = iter([0.0, 29.0, 31.0, 31.0, 45.0, 62.0, 62.0])
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: next(clock)))
    log = console(False)
    name = "rdg, [a name] that is longer than a line of forty"
    with progress(log) as bar:
        on_progress = bar(name)
        for done in (1, 2, 3, 4):
            on_progress("attack", done, 10)
    assert log.file.getvalue().splitlines() == [
        f"{name}: attack 2 of 10",
        f"{name}: attack 4 of 10",
    ]
