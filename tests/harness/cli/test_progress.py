"""Progress on a terminal, and in a log."""

import io
import re
import time

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


def lines(log, wanted):
    """Wait until the log has some lines, and return them."""
    while len(log.file.getvalue().splitlines()) < wanted:
        time.sleep(0.005)
    return log.file.getvalue().splitlines()


def test_a_log_gets_lines_also_while_a_round_goes_on(monkeypatch):
    monkeypatch.setattr(module, "LINE_EVERY_S", 0.01)
    log = console(False)
    name = "rdg, [a name] that is longer than a line of forty"
    with progress(log) as bar:
        assert re.fullmatch(r"\d+:\d\d preparing", lines(log, 1)[0])
        on_progress = bar(name)
        on_progress("attack", 2, 10)
        seen = len(lines(log, 1))
        later = lines(log, seen + 3)[seen + 1 :]  # no further call, as in a long round
        assert all(line.endswith(f" {name}: attack 2 of 10") for line in later)
    ended = log.file.getvalue()
    time.sleep(0.05)
    assert log.file.getvalue() == ended


def test_a_log_gets_a_line_every_half_minute_and_not_for_each_step(monkeypatch):
    assert module.LINE_EVERY_S == 30
    log = console(False)
    with progress(log) as bar:
        on_progress = bar("noise")
        for done in range(10_000):
            on_progress("attack", done, 10_000)
    assert log.file.getvalue() == ""
