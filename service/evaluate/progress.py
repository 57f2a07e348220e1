"""Progress of an evaluation: a bar on a terminal, and otherwise a line every half minute."""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

_LINE_EVERY_S = 30.0
_LONG_S = 60.0
"""From how many seconds on it is worthwhile to name --out."""
_ON_HAND = "A folder named with --out would let another run go on from what this one has done."


class Shown:
    """What a run reports while it goes on."""

    def __init__(
        self, console: Console, bar: Progress | None, total: int, *, resumable: bool
    ) -> None:
        self._console = console
        self._bar = bar
        self._task = None if bar is None else bar.add_task("classifying", total=total)
        self._total = total
        self._resumable = resumable
        self._line_due_s = time.monotonic() + _LINE_EVERY_S

    def estimate(self, seconds: float) -> None:
        """Report how long all of it takes."""
        hint = "" if self._resumable or seconds < _LONG_S else f" {_ON_HAND}"
        self._print(f"This takes about {_duration(seconds)}.{hint}")

    def done(self, images: int) -> None:
        """Report how many images are done."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=images)
        elif time.monotonic() > self._line_due_s:
            self._line_due_s = time.monotonic() + _LINE_EVERY_S
            self._print(f"{images} of {self._total} images")

    def _print(self, line: str) -> None:
        self._console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def progress(console: Console, total: int, *, resumable: bool) -> Iterator[Shown]:
    """Show progress on a console.

    Args:
        console: of the standard error.
        total: how many images there are.
        resumable: whether another run can go on from this one.
    """
    if not console.is_terminal:
        yield Shown(console, None, total, resumable=resumable)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True) as bar:
        yield Shown(console, bar, total, resumable=resumable)


def _duration(seconds: float) -> str:
    """Write a duration, roughly: ``40 s``, ``3 min`` or ``2.5 h``."""
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
