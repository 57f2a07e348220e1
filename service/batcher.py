"""Micro-batching across requests: what arrives together is inferred together.

One thread runs the model, so the event loop never waits for it, and a batch is made of what is
queued when that thread comes free.
"""

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
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
        queue_ms: from the call to the start of the batch.
        infer_ms: how long the batch ran.
    """

    scores: Tensor
    queue_ms: float
    infer_ms: float


@dataclass(frozen=True, eq=False)
class _Waiting:
    rows: Tensor
    since: float
    done: asyncio.Future[Inferred]


class Batcher:
    """Collects rows of concurrent callers into batches; each caller gets its own rows' scores.

    How much may wait is bounded where requests are admitted. A caller that is cancelled takes its
    rows out of the queue.
    """

    def __init__(
        self,
        run: Callable[[Tensor], Tensor],
        *,
        max_rows: int,
        window_s: float = 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
    ) -> None:
        """Set up a batcher; :meth:`start` starts it.

        Args:
            run: the model: ``(n, …)`` rows to ``(n, classes)`` scores. Called in a thread, one call
                at a time.
            max_rows: the most rows of a batch; one caller's rows stay together even above it.
            window_s: how long a batch waits for more rows, counted from its first row's arrival.
            on_batch: told the rows of each batch.
        """
        self._run = run
        self._max_rows = max_rows
        self._window_s = window_s
        self._on_batch = on_batch
        self._queue: deque[_Waiting] = deque()
        self._arrived = asyncio.Event()
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix="infer", initializer=yield_to_the_event_loop
        )
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Start collecting, on the running event loop."""
        self._task = asyncio.create_task(self._serve())

    async def stop(self) -> None:
        """Stop: who still waits gets a :class:`NotReadyError`."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        while self._queue:
            waiting = self._queue.popleft()
            if not waiting.done.done():
                waiting.done.set_exception(NotReadyError("The server is stopping."))
        self._thread.shutdown(wait=False, cancel_futures=True)

    @property
    def queued_rows(self) -> int:
        """The rows that wait for a batch."""
        return sum(len(waiting.rows) for waiting in self._queue)

    async def infer(self, rows: Tensor) -> Inferred:
        """Infer ``(n, …)`` rows, n ≥ 1, in one batch.

        Raises:
            InferenceError: the model failed on the batch.
            NotReadyError: the batcher was stopped.
        """
        done: asyncio.Future[Inferred] = asyncio.get_running_loop().create_future()
        waiting = _Waiting(rows, time.perf_counter(), done)
        self._queue.append(waiting)
        self._arrived.set()
        try:
            return await done
        finally:
            if waiting in self._queue:
                self._queue.remove(waiting)

    async def _serve(self) -> None:
        while True:
            if not self._queue:
                self._arrived.clear()
                await self._arrived.wait()
            await self._fill()
            batch = self._take()
            if batch:
                await self._infer(batch)

    async def _fill(self) -> None:
        """Wait until the window of the first waiting row is over, or a batch is full."""
        if not self._queue:
            return
        closes = self._queue[0].since + self._window_s
        while self.queued_rows < self._max_rows:
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
        rows = 0
        while self._queue and (not batch or rows + len(self._queue[0].rows) <= self._max_rows):
            waiting = self._queue.popleft()
            if not waiting.done.done():
                batch.append(waiting)
                rows += len(waiting.rows)
        return batch

    async def _infer(self, batch: list[_Waiting]) -> None:
        rows = np.concatenate([waiting.rows for waiting in batch])
        self._on_batch(len(rows))
        started = time.perf_counter()
        try:
            loop = asyncio.get_running_loop()
            scores = await loop.run_in_executor(self._thread, self._run, rows)
            if len(scores) != len(rows):
                raise ValueError(f"{len(rows)} rows in, {len(scores)} out")
        except asyncio.CancelledError:
            self._queue.extendleft(reversed(batch))  # stop() answers them
            raise
        except Exception:  # noqa: BLE001  # its callers are answered, whatever it raised
            _log.exception("The model failed on a batch of %d", len(rows))
            for waiting in batch:
                if not waiting.done.done():
                    waiting.done.set_exception(InferenceError("The model could not be run."))
            return
        infer_ms = 1e3 * (time.perf_counter() - started)
        position = 0
        for waiting in batch:
            own = scores[position : position + len(waiting.rows)]
            position += len(waiting.rows)
            if not waiting.done.done():
                queue_ms = 1e3 * (started - waiting.since)
                waiting.done.set_result(Inferred(own, queue_ms, infer_ms))
