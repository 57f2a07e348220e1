"""Timing in turns, so that a disturbance affects all candidates and not only one."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from service.server.process import tune_malloc


@dataclass(frozen=True)
class Result:
    """One measured figure and its target.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: its unit, such as ms, or "x" for a ratio.
        target: the target in words; empty if the figure has none.
        met: whether the target is met; true if there is none.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool = True


def on_one_core() -> None:
    """Keep this process on one core, and set up OpenCV and malloc as the service does."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    tune_malloc()


def medians_ms(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 3
) -> dict[str, float]:
    """Return each candidate's median time in ms, over rounds in which each has one turn."""
    times_ms: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if turn >= warm_up:
                times_ms[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times_ms.items()}
