"""Progress of a run: bars on a terminal, and otherwise a line every half minute."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from harness.types import OnProgress

LINE_EVERY_S = 30.0


@contextmanager
def progress(console: Console) -> Iterator[Callable[[str], OnProgress]]:
    """Show progress on a console; yields a function from a run's name to its callback."""
    if not console.is_terminal:
        with _Lines(console) as lines:
            yield lines
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
    """A line every half minute, so that a log shows progress and stays short.

    A thread prints the lines, because a single round may take many minutes.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._begun = time.monotonic()
        self._latest = "preparing"
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._print, name="progress", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def __call__(self, name: str) -> OnProgress:
        self._latest = f"{name}: begins"

        def on_progress(what: str, done: int, total: int) -> None:
            self._latest = f"{name}: {what} {done} of {total}"

        return on_progress

    def _print(self) -> None:
        while not self._ended.wait(LINE_EVERY_S):
            minutes, seconds = divmod(round(time.monotonic() - self._begun), 60)
            line = f"{minutes}:{seconds:02} {self._latest}"
            self._console.print(line, highlight=False, markup=False, soft_wrap=True)
