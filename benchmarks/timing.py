"""Timing that takes turns, so that what disturbs one candidate disturbs all of them."""

import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import cv2
import numpy as np

from service.server.process import tune_malloc


@dataclass(frozen=True)
class Result:
    """One figure and what was wanted of it.

    Attributes:
        name: what was measured.
        value: the figure.
        unit: its unit, such as ms, or "x" for a ratio.
        target: what is wanted, in words; empty for a figure that only informs.
        met: whether it is so.
    """

    name: str
    value: float
    unit: str
    target: str = ""
    met: bool = True


def on_one_core() -> None:
    """Keep this process on one of its cores, and set it up as the service sets itself up."""
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    cv2.setNumThreads(1)
    tune_malloc()


def medians_ms(
    candidates: Mapping[str, Callable[[], object]], *, rounds: int, warm_up: int = 3
) -> dict[str, float]:
    """The median time of each candidate in ms, over rounds in which each has one turn."""
    times_ms: dict[str, list[float]] = {name: [] for name in candidates}
    for turn in range(warm_up + rounds):
        for name, run in candidates.items():
            started = time.perf_counter()
            run()
            if turn >= warm_up:
                times_ms[name].append(1e3 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in times_ms.items()}
