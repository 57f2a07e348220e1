"""Progress of a run: bars on a terminal, and otherwise a line every half minute."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.types import OnProgress

LINE_EVERY_S = 30.0


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], OnProgress]]:
    """Show progress on a console; yields a function from a run's name to its callback."""
    if not console.is_terminal:
        yield _Lines(console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bars:
        yield _Bars(bars)


class _Bars:
    """One bar for each attack and for its checks."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars

    def __call__(self, name: str) -> OnProgress:
        tasks = {}

        def on_progress(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = self._bars.add_task(f"{name}: {what}")
            self._bars.update(tasks[what], completed=done, total=total)
            if done == total:  # all tables together have hundreds of bars
                self._bars.remove_task(tasks.pop(what))

        return on_progress


class _Lines:
    """A line every half minute, so that a log shows progress and stays short."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._due = time.monotonic() + LINE_EVERY_S

    def __call__(self, name: str) -> OnProgress:
        def on_progress(what: str, done: int, total: int) -> None:
            if time.monotonic() >= self._due:
                line = f"{name}: {what} {done} of {total}"
                self._console.print(line, highlight=False, markup=False, soft_wrap=True)
                self._due = time.monotonic() + LINE_EVERY_S

        return on_progress
