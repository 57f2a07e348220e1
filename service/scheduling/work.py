"""What waits for a thread of the scheduler, and whose it is."""

from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.telemetry.timings import Timings

Tensor: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Job:
    """Work for one thread, which resolves ``future`` or enqueues as many ``images`` as items."""

    work: Callable[[Future[Any]], None]
    client: Hashable
    future: Future[Any]
    images: int


@dataclass(eq=False)
class Request:
    """A caller whose ``images`` items wait for inference; their scores come in any order."""

    client: Hashable
    future: Future[Any]
    images: int
    timings: Timings
    prepared_s: float
    started_s: float = float("inf")
    scores: dict[int, Tensor] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Item:
    """One tensor that waits for a batch."""

    tensor: Tensor
    request: Request
    index: int
