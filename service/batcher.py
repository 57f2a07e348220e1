"""Micro-batching across requests: rows that wait together are inferred together.

Each lane is a thread that runs the model, so the event loop never waits for it. A lane that comes
free takes what is queued, whoever sent it.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from service.errors import InferenceError, NotReadyError
from service.priority import yield_to_the_event_loop

Tensor = NDArray[np.float32]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Inferred:
    """The scores of one caller's rows.

    Attributes:
        scores: ``(n, classes)`` float32, in the order of the rows.
        queue_ms: from the call to the start of the first row's batch.
        infer_ms: from then to the end of the last row's batch.
    """

    scores: Tensor
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True)
class _Scored:
    scores: Tensor
    started: float
    ended: float


@dataclass(frozen=True, eq=False)
class _Waiting:
    row: Tensor
    since: float
    scored: asyncio.Future[_Scored]


class Batcher:
    """Collects the rows of concurrent callers into batches; each caller gets its own rows' scores.

    How much may wait is bounded where requests are admitted. The rows of a caller that is cancelled
    are not inferred any more.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        *,
        max_rows: int,
        lanes: int = 1,
        window_s: float = 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Set up a batcher; :meth:`start` starts it.

        Args:
            run: the model: ``(n, …)`` rows to ``(n, classes)`` scores. Called in threads, ``lanes``
                calls at a time.
            max_rows: the most rows of a batch.
            lanes: how many batches run side by side.
            window_s: how long a batch waits for more rows, counted from its first row's arrival.
            on_batch: told the rows of each batch.
        """
        self._run = run
        self._max_rows = max_rows
        self._lanes = lanes
        self._window_s = window_s
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._threads = ThreadPoolExecutor(
            lanes, thread_name_prefix="infer", initializer=yield_to_the_event_loop
        )
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Start the lanes, on the running event loop."""
        self._tasks = [asyncio.create_task(self._serve()) for _ in range(self._lanes)]

    async def stop(self) -> None:
        """Stop: who still waits gets a :class:`NotReadyError`."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        _refuse(self._queue, NotReadyError("The server is stopping."))
        self._queue.clear()
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def queued_rows(self) -> int:
        """The rows that wait for a batch."""
        return sum(not waiting.scored.done() for waiting in self._queue)

    async def infer(self, rows: Sequence[Tensor]) -> Inferred:
        """Infer one or more rows of the same shape.

        Raises:
            InferenceError: the model failed on a batch with one of them.
            NotReadyError: the batcher was stopped.
        """
        loop = asyncio.get_running_loop()
        since = time.perf_counter()
        waiting = [_Waiting(row, since, loop.create_future()) for row in rows]
        self._queue.extend(waiting)
        self._arrived.set()
        scored = await asyncio.gather(*(one.scored for one in waiting))
        started = min(one.started for one in scored)
        ended = max(one.ended for one in scored)
        scores = np.stack([one.scores for one in scored])
        return Inferred(scores, 1e3 * (started - since), 1e3 * (ended - started))

    async def _serve(self) -> None:
        """One lane."""
        while True:
            while not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if batch:
                await self._infer(batch)

    async def _fill(self) -> None:
        """Wait until the window of the first waiting row is over, or a batch is full."""
        closes = self._queue[0].since + self._window_s
        while self._queue and len(self._queue) < self._max_rows:
            left = closes - time.perf_counter()
            if left <= 0:
                return
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), left)
            except TimeoutError:
                return

    def _take(self) -> list[_Waiting]:
        batch: list[_Waiting] = []
        while self._queue and len(batch) < self._max_rows:
            waiting = self._queue.popleft()
            if not waiting.scored.done():  # cancelled
                batch.append(waiting)
        return batch

    async def _infer(self, batch: list[_Waiting]) -> None:
        self._on_batch(len(batch))
        loop = asyncio.get_running_loop()
        try:
            scores, started, ended = await loop.run_in_executor(
                self._threads, self._timed_run, [waiting.row for waiting in batch]
            )
        except asyncio.CancelledError:
            _refuse(batch, NotReadyError("The server is stopping."))
            raise
        except Exception:  # noqa: BLE001  # its callers are answered, whatever it raised
            _log.exception("The model failed on a batch of %d", len(batch))
            _refuse(batch, InferenceError("The model could not be run."))
            return
        for waiting, row_scores in zip(batch, scores, strict=True):
            if not waiting.scored.done():
                waiting.scored.set_result(_Scored(row_scores, started, ended))

    def _timed_run(self, rows: list[Tensor]) -> tuple[Tensor, float, float]:
        batch = rows[0][None] if len(rows) == 1 else np.stack(rows)
        started = time.perf_counter()
        scores = self._run(batch)
        if len(scores) != len(rows):
            raise ValueError(f"{len(rows)} rows in, {len(scores)} out")
        return scores, started, time.perf_counter()


def _refuse(rows: Sequence[_Waiting] | deque[_Waiting], error: Exception) -> None:
    for waiting in rows:
        if not waiting.scored.done():
            waiting.scored.set_exception(error)
