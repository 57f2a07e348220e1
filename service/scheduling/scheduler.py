"""The threads that compute: they prepare images, and infer them in batches across requests.

One crew does both, and takes what is prepared first: no more threads compute than there are
processors for, and the thread that has prepared an image goes on with it while its processor's
caches have it.
"""

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from service.errors import InferenceError, NotReadyError
from service.scheduling.priority import yield_to_the_event_loop

T = TypeVar("T")
Tensor = NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inferred:
    """The scores of one caller's rows.

    Attributes:
        scores: ``(n, classes)`` float32, in the order of the rows.
        queue_ms: from when they were prepared to the start of the first row's batch.
        infer_ms: from then to the end of the last row's batch.
    """

    scores: Tensor
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True, eq=False)
class _Job:
    """What is to be done before anything is inferred: ``work`` settles ``future``, or queues rows.

    ``rows`` is how many images there are in it.
    """

    work: Callable[["_Job"], None]
    future: Future[Any]
    rows: int


@dataclass(eq=False)
class _Caller:
    """Who waits for ``count`` rows, and for what was made with them."""

    future: Future[Any]
    more: Any
    since: float
    count: int
    scores: dict[int, Tensor] = field(default_factory=dict)
    started: float = float("inf")


@dataclass(frozen=True, eq=False)
class _Row:
    value: Tensor
    caller: _Caller
    number: int


class Crew:
    """Threads for images; each caller gets its own rows' scores.

    How much may wait is bounded where requests are admitted. What a cancelled caller waits for is
    not begun any more.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        *,
        threads: int,
        workers: int,
        max_rows: int,
        lanes: int = 1,
        window_s: float = 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Set up a crew; :meth:`start` starts it.

        Args:
            run: the model: ``(n, …)`` rows to ``(n, classes)`` scores. Called in threads, ``lanes``
                calls at a time.
            threads: how many work at all.
            workers: how many of them prepare images at once.
            max_rows: the most rows of a batch.
            lanes: how many batches run side by side.
            window_s: how long a batch waits for more rows, counted from its first row's arrival.
            on_batch: told the rows of each batch.
        """
        self._run = run
        self._max_rows = max_rows
        self._window_s = window_s
        self._on_batch = on_batch
        self._ahead = lanes * max_rows
        self._free_workers = workers
        self._free_lanes = lanes
        self._jobs: deque[_Job] = deque()
        self._rows: deque[_Row] = deque()
        self._promised: set[Future[Any]] = set()
        self._changed = threading.Condition()
        self._stopped = False
        self._threads = [
            threading.Thread(target=self._work, name=f"compute_{i}") for i in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Begin nothing more; who still waits gets a :class:`NotReadyError`."""
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        for future in tuple(self._promised):
            _fail(future, NotReadyError("The server is stopping."))

    @property
    def queued_rows(self) -> int:
        """The rows that wait to be prepared, or for a batch."""
        with self._changed:
            unprepared = sum(job.rows for job in self._jobs if not job.future.done())
            return unprepared + sum(not row.caller.future.done() for row in self._rows)

    async def run(self, work: Callable[[], T]) -> T:
        """Have a thread do something; what it raises is raised.

        Raises:
            NotReadyError: the crew was stopped.
        """

        def do(job: _Job) -> None:
            _keep(job.future, work())

        result: T = await self._promise(do, 1)
        return result

    async def infer(
        self, prepare: Callable[[], tuple[T, Sequence[Tensor]]], rows: int = 1
    ) -> tuple[T, Inferred]:
        """Have a thread prepare rows of the same shape, and infer them.

        Args:
            prepare: gives the rows, and whatever else the caller wants to have. What it raises is
                raised.
            rows: how many it gives.

        Raises:
            InferenceError: the model failed on a batch with one of them.
            NotReadyError: the crew was stopped.
        """

        def do(job: _Job) -> None:
            more, values = prepare()
            caller = _Caller(job.future, more, time.perf_counter(), len(values))
            with self._changed:
                self._rows.extend(_Row(value, caller, i) for i, value in enumerate(values))

        result: tuple[T, Inferred] = await self._promise(do, rows)
        return result

    async def _promise(self, work: Callable[[_Job], None], rows: int) -> Any:
        future: Future[Any] = Future()
        self._promised.add(future)
        try:
            with self._changed:
                if self._stopped:
                    raise NotReadyError("The server is stopping.")
                self._jobs.append(_Job(work, future, rows))
                self._changed.notify()
            return await asyncio.wrap_future(future)  # cancels the future where it is cancelled
        finally:
            self._promised.discard(future)

    def _work(self) -> None:
        """One thread."""
        yield_to_the_event_loop()
        while (step := self._next()) is not None:
            step()
            del step  # its images are not held while there is nothing to do

    def _next(self) -> Callable[[], None] | None:
        """What to do next, once there is something; None to end."""
        with self._changed:
            while not self._stopped:
                opens_s = self._batch_opens_s()
                step = self._begin_batch() if opens_s == 0 else self._begin_job()
                if step is None and opens_s != 0:
                    self._changed.wait(opens_s)
                elif step is not None:
                    if self._rows or self._jobs:
                        self._changed.notify()  # who leaves something wakes another
                    return step
            return None

    def _batch_opens_s(self) -> float | None:
        """Seconds until a batch may be taken; None where only another thread can change that."""
        if not self._rows or not self._free_lanes:
            return None
        if len(self._rows) >= self._max_rows:
            return 0.0
        closes = self._rows[0].caller.since + self._window_s
        return max(0.0, closes - time.perf_counter())

    def _begin_batch(self) -> Callable[[], None] | None:
        batch: list[_Row] = []
        while self._rows and len(batch) < self._max_rows:
            row = self._rows.popleft()
            if not row.caller.future.done():  # cancelled, or another batch failed
                batch.append(row)
        if not batch:
            return None
        self._free_lanes -= 1
        return partial(self._infer, batch)

    def _begin_job(self) -> Callable[[], None] | None:
        # One batch for each lane is ready then: more would only fill the caches, and the memory.
        while self._free_workers and self._jobs and len(self._rows) < self._ahead:
            job = self._jobs.popleft()
            if not job.future.done():  # cancelled
                self._free_workers -= 1
                return partial(self._prepare, job)
        return None

    def _prepare(self, job: _Job) -> None:
        try:
            job.work(job)
        except BaseException as error:  # noqa: BLE001  # its caller's, whatever it is
            _fail(job.future, error)
        with self._changed:
            self._free_workers += 1

    def _infer(self, batch: list[_Row]) -> None:
        rows = [row.value for row in batch]
        try:
            self._on_batch(len(rows))
            started = time.perf_counter()
            scores = self._run(rows[0][None] if len(rows) == 1 else np.stack(rows))
            if len(scores) != len(rows):
                raise ValueError(f"{len(rows)} rows in, {len(scores)} out")
        except Exception:  # noqa: BLE001  # its callers are answered, whatever it raised
            _log.exception("The model failed on a batch of %d", len(batch))
            for row in batch:
                _fail(row.caller.future, InferenceError("The model could not be run."))
        else:
            self._hand_out(batch, scores, started, time.perf_counter())
        with self._changed:
            self._free_lanes += 1

    def _hand_out(self, batch: list[_Row], scores: Tensor, started: float, ended: float) -> None:
        with self._changed:  # a caller's rows may be in batches of several threads
            for row, row_scores in zip(batch, scores, strict=True):
                caller = row.caller
                caller.scores[row.number] = row_scores
                caller.started = min(caller.started, started)
            whole = {row.caller for row in batch if len(row.caller.scores) == row.caller.count}
        for caller in whole:
            inferred = Inferred(
                np.stack([caller.scores[i] for i in range(caller.count)]),
                1e3 * (caller.started - caller.since),
                1e3 * (ended - caller.started),
            )
            _keep(caller.future, (caller.more, inferred))


def _keep(future: Future[Any], result: Any) -> None:
    with suppress(InvalidStateError):  # its caller was cancelled, or told something else
        future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
