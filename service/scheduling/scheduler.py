"""The threads that compute: they prepare images, and infer them in batches across requests.

    submit ──► jobs ──► a thread prepares ──► items ──► a thread infers a batch ──► scores
    run    ──► jobs ──► a thread works ──────────────────────────────────────────► result

The same threads do both, and prepared items go first. So no more threads compute than there are
processors, and the thread that prepared an image goes on with it while the processor's caches still
hold it.

Clients have equal shares: of the threads' time for jobs, and of the items of batches.
"""

import asyncio
import logging
import threading
import time
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future, InvalidStateError
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np

from service.errors import InferenceError, NotReadyError, ServiceError, is_out_of_memory
from service.scheduling.deadline import out_of_memory
from service.scheduling.fair_queue import FairQueue
from service.scheduling.priority import lower_thread_priority
from service.scheduling.work import Item, Job, Request, Tensor
from service.telemetry.timings import Timings

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Scheduler:
    """Threads for images; each caller gets the scores of its own items.

    Admission bounds how much may wait. Work of a cancelled caller is not started.
    """

    def __init__(
        self,
        infer: Callable[[Tensor], Tensor] | None = None,
        *,
        threads: int,
        preprocess_threads: int,
        max_batch: int = 1,
        inference_streams: int = 1,
        window_s: float = 0.0,
        on_batch: Callable[[int], None] = lambda _: None,
        lower_priority: bool = True,
    ) -> None:
        """Set up a scheduler; :meth:`start` starts its threads.

        Args:
            infer: the model: ``(n, …)`` items to ``(n, classes)`` scores, called in threads; None
                if there is nothing but :meth:`run`.
            threads: how many threads there are.
            preprocess_threads: how many of them prepare images at once.
            max_batch: the most items of a batch.
            inference_streams: how many batches run side by side.
            window_s: how long a batch waits for more items, from its first item's arrival.
            on_batch: called with the number of items of each batch.
            lower_priority: whether the threads' priority is below the event loop's.
        """
        self._infer_batch = infer
        self._max_batch = max_batch
        self._window_s = window_s
        self._on_batch = on_batch
        self._lower_priority = lower_priority
        # One batch for each stream is ready then: more would only fill the caches and the memory.
        self._max_prepared = inference_streams * max_batch
        self._free_preparers = preprocess_threads
        self._free_streams = inference_streams
        self._jobs: FairQueue[Job] = FairQueue()
        self._items: FairQueue[Item] = FairQueue()
        self._promised: set[Future[Any]] = set()
        self._changed = threading.Condition()
        self._closed: str | None = None  # why, in a sentence for clients
        self._threads = [
            threading.Thread(target=self._work, name=f"compute_{i}") for i in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Start no more work; everyone who still waits gets a :class:`NotReadyError`."""
        self._close("The server is stopping.")

    @property
    def is_open(self) -> bool:
        """Whether it takes work: it was not stopped, and all of its threads live."""
        return self._closed is None

    def check_open(self) -> None:
        """Return if it takes work.

        Raises:
            NotReadyError: it was stopped, or one of its threads died; the message says which.
        """
        if self._closed is not None:
            raise NotReadyError(self._closed)

    @property
    def queued_images(self) -> int:
        """The images that wait for a thread or for a batch."""
        with self._changed:
            unprepared = sum(job.images for job in self._jobs if not job.future.done())
            return unprepared + sum(not item.request.future.done() for item in self._items)

    async def run(self, work: Callable[[], T], client: Hashable = None) -> T:
        """Have a thread do some work; its exceptions are raised here.

        Args:
            work: the work.
            client: whose work it is; clients have equal shares.

        Raises:
            NotReadyError: the scheduler was stopped, or one of its threads died.
        """
        result: T = await self._promise(client, lambda future: _resolve(future, work()), 1)
        return result

    async def submit(
        self,
        prepare: Callable[[], Sequence[Tensor]],
        images: int,
        timings: Timings,
        client: Hashable = None,
    ) -> Tensor:
        """Have a thread prepare items, and infer them.

        Args:
            prepare: returns the items, which have one shape. Its exceptions are raised here.
            images: how many items it returns.
            timings: gets the stages ``queue``, the wait for a batch, and ``infer``.
            client: whose work it is; clients have equal shares.

        Returns:
            The scores ``(images, classes)``, float32, in the order of the items.

        Raises:
            InferenceError: the model failed on a batch with one of the items.
            NotReadyError: the scheduler was stopped, or one of its threads died.
        """

        def enqueue(future: Future[Any]) -> None:
            items = prepare()
            request = Request(client, future, len(items), timings, time.perf_counter())
            with self._changed:
                for i, item in enumerate(items):
                    self._items.append(client, Item(item, request, i))

        scores: Tensor = await self._promise(client, enqueue, images)
        return scores

    async def _promise(
        self, client: Hashable, work: Callable[[Future[Any]], None], images: int
    ) -> Any:
        future: Future[Any] = Future()
        self._promised.add(future)
        try:
            with self._changed:
                self.check_open()
                self._jobs.append(client, Job(work, client, future, images))
                self._changed.notify()
            return await asyncio.wrap_future(future)  # cancelling this cancels the future
        finally:
            self._promised.discard(future)

    def _close(self, why: str) -> None:
        with self._changed:
            self._closed = self._closed or why
            self._changed.notify_all()
        for future in tuple(self._promised):
            _fail(future, NotReadyError(why))

    def _work(self) -> None:
        """One thread's life. However it ends, no caller is left waiting for it."""
        try:
            if self._lower_priority:
                lower_thread_priority()
            while (step := self._next()) is not None:
                step()
                del step  # its images are not held while there is nothing to do
        except BaseException:  # noqa: BLE001  # whatever ended it, its callers get an answer
            _log.critical("A computing thread died; this server is not ready", exc_info=True)
            self._close("The server has failed; its log says why.")

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next step; None ends the thread."""
        with self._changed:
            while self._closed is None:
                opens_s = self._batch_opens_s()
                step = self._begin_batch() if opens_s == 0 else self._begin_job()
                if step is None and opens_s != 0:
                    self._changed.wait(opens_s)
                elif step is not None:
                    if self._items or self._jobs:
                        self._changed.notify()  # work is left: wake another thread
                    return step
            return None

    def _batch_opens_s(self) -> float | None:
        """Seconds until a batch may start; None if only another thread can change that."""
        if not self._items or not self._free_streams:
            return None
        if len(self._items) >= self._max_batch:
            return 0.0
        first_s = min(item.request.prepared_s for item in self._items.heads())
        closes_s = first_s + self._window_s
        return max(0.0, closes_s - time.perf_counter())

    def _begin_batch(self) -> Callable[[], None] | None:
        batch: list[Item] = []
        while len(batch) < self._max_batch and (item := self._items.pop()) is not None:
            if not item.request.future.done():  # cancelled, or another batch failed
                self._items.charge(item.request.client, 1)
                batch.append(item)
        if not batch:
            return None
        self._free_streams -= 1
        return partial(self._infer, batch)

    def _begin_job(self) -> Callable[[], None] | None:
        # Items wait already: only the clients that have none prepare one now.
        skip = self._items.has if len(self._items) >= self._max_prepared else None
        while self._free_preparers and (job := self._jobs.pop(skip)) is not None:
            if not job.future.done():  # cancelled
                self._free_preparers -= 1
                return partial(self._prepare, job)
        return None

    def _prepare(self, job: Job) -> None:
        started_s = time.perf_counter()
        try:
            job.work(job.future)
        except Exception as error:  # noqa: BLE001  # the caller gets it, whatever it is
            _fail(job.future, error)
        with self._changed:
            self._free_preparers += 1
            self._jobs.charge(job.client, time.perf_counter() - started_s)

    def _infer(self, batch: list[Item]) -> None:
        assert self._infer_batch is not None  # noqa: S101  # or nothing would have been submitted
        tensors = [item.tensor for item in batch]
        try:
            self._on_batch(len(batch))
            started_s = time.perf_counter()
            scores = self._infer_batch(tensors[0][None] if len(batch) == 1 else np.stack(tensors))
            if len(scores) != len(batch):
                raise ValueError(f"{len(batch)} items in, {len(scores)} scores out")
            self._deliver(batch, scores, started_s, time.perf_counter())
        except Exception as error:  # noqa: BLE001  # every caller gets an answer
            if is_out_of_memory(error):
                reason: ServiceError = out_of_memory(error)
            else:
                _log.exception("The model failed on a batch of %d", len(batch))
                reason = InferenceError("The model could not be run.")
            for item in batch:
                _fail(item.request.future, reason)
        with self._changed:
            self._free_streams += 1

    def _deliver(self, batch: list[Item], scores: Tensor, started_s: float, ended_s: float) -> None:
        with self._changed:  # a request's items may be in batches of several threads
            for item, item_scores in zip(batch, scores, strict=True):
                request = item.request
                request.scores[item.index] = item_scores
                request.started_s = min(request.started_s, started_s)
            complete = {i.request for i in batch if len(i.request.scores) == i.request.images}
        for request in complete:
            request.timings.record("queue", request.prepared_s, request.started_s)
            request.timings.record("infer", request.started_s, ended_s)
            ordered = np.stack([request.scores[i] for i in range(request.images)])
            _resolve(request.future, ordered)


def _resolve(future: Future[Any], result: Any) -> None:
    with suppress(InvalidStateError):  # the caller was cancelled, or has failed
        future.set_result(result)


def _fail(future: Future[Any], error: BaseException) -> None:
    with suppress(InvalidStateError):
        future.set_exception(error)
