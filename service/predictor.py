"""The spine: decode → defend → preprocess → batch → infer → answer."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import SystemRandom
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from defenses import Pipeline
from models import Classifier, fit, probabilities, to_tensor
from service.batcher import Batcher
from service.decode import decode, encode_png
from service.errors import (
    BusyError,
    DeadlineError,
    TooManyImagesError,
    UnknownDefenseError,
)
from service.metrics import Metrics
from service.priority import yield_to_the_event_loop
from service.settings import Settings

T = TypeVar("T")

_SYSTEM_RANDOM = SystemRandom()
"""The operating system's generator. Each draw takes fresh numbers from it; it has no seed."""


@dataclass(frozen=True)
class Outcome:
    """What became of one image.

    Attributes:
        probabilities: ``(classes,)`` float32, the mean over the draws.
        agreement: the share of the draws, in [0, 1], whose most probable class is the mean's.
        stages_ms: milliseconds by stage, see :data:`service.metrics.STAGES`.
    """

    probabilities: NDArray[np.float32]
    agreement: float
    stages_ms: dict[str, float]


class Predictor:
    """Classifies images behind a defence; one for each served model."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self.classifier = classifier
        self.pipelines = settings.pipelines
        self._settings = settings
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(
            settings.workers, thread_name_prefix="defend", initializer=yield_to_the_event_loop
        )
        self._batcher = Batcher(
            classifier.run,
            max_rows=settings.max_batch,
            window_s=settings.batch_window_ms / 1e3,
            on_batch=metrics.batch_images.observe,
        )
        self._in_flight = 0
        metrics.queued.set_function(lambda: self._batcher.queued_rows)
        metrics.in_flight.set_function(lambda: self._in_flight)

    async def start(self) -> None:
        """Warm up every batch size, then take images."""
        sizes = range(1, self._settings.max_batch + 1)
        await asyncio.to_thread(self.classifier.warm_up, sizes)
        self._batcher.start()

    async def stop(self) -> None:
        """Take no more images; who still waits is told so."""
        await self._batcher.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)

    def pipeline(self, name: str | None) -> Pipeline:
        """The defence that a request asked for, or the default one.

        Raises:
            UnknownDefenseError: the operator does not allow it.
        """
        if name is None:
            return self.pipelines[self._settings.defense]
        # In a query string an unescaped + is a space.
        pipeline = self.pipelines.get("+".join(name.split()))
        if pipeline is None:
            allowed = ", ".join(self.pipelines)
            raise UnknownDefenseError(f"There is no such defence here. There are: {allowed}.")
        return pipeline

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold a place for some images, each draw counting as one, while they are at work.

        Raises:
            TooManyImagesError: more than this server ever takes at once.
            BusyError: more than it can take now.
        """
        most = self._settings.max_in_flight
        if images > most:
            raise TooManyImagesError(
                f"These are {images} images, each draw counting as one; send {most} at most."
            )
        if self._in_flight + images > most:
            raise BusyError(f"{self._in_flight} of {most} images are at work; try again.")
        self._in_flight += images
        try:
            yield
        finally:
            self._in_flight -= images

    async def predict(self, body: bytes, pipeline: Pipeline, *, draws: int = 1) -> Outcome:
        """Classify one image file: the whole way of the data.

        Args:
            body: the bytes of an image file.
            pipeline: the defence.
            draws: how many independent draws are averaged.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        stages = _Stages()
        manifest = self.classifier.manifest

        def prepare() -> NDArray[np.float32]:
            with stages.measure("decode"):
                photograph = decode(
                    body, max_pixels=self._settings.max_pixels, enough_px=self._enough_px()
                )
                image = fit(photograph, manifest)
            with stages.measure("defend"):
                defended = [pipeline(image, _SYSTEM_RANDOM) for _ in range(draws)]
            with stages.measure("preprocess"):
                return np.stack([to_tensor(each, manifest) for each in defended])

        async with self._deadline():
            tensor = await self._in_worker(prepare)
            inferred = await self._batcher.infer(tensor)

        stages.add(queue=inferred.queue_ms, infer=inferred.infer_ms)
        by_draw = probabilities(inferred.scores, manifest)
        mean = by_draw.mean(axis=0)
        agreement = float(np.mean(by_draw.argmax(axis=1) == mean.argmax()))
        self._metrics.images.labels(str(pipeline)).inc(draws)
        if draws > 1:
            self._metrics.agreement.observe(agreement)
        return Outcome(mean, agreement, stages.finish(self._metrics))

    async def defend(self, body: bytes, pipeline: Pipeline) -> bytes:
        """Defend one image file at its own size.

        Returns:
            The defended image as a PNG file.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """

        def run() -> bytes:
            image = decode(body, max_pixels=self._settings.max_pixels)
            return encode_png(pipeline(image, _SYSTEM_RANDOM))

        async with self._deadline():
            png = await self._in_worker(run)
        self._metrics.images.labels(str(pipeline)).inc()
        return png

    def _enough_px(self) -> int:
        """The side that fit() can still reduce from, whatever it crops."""
        frame, resize = self.classifier.manifest.input, self.classifier.manifest.resize
        kept = resize.crop_fraction if resize.mode == "crop" else 1.0
        return math.ceil(max(frame.height_px, frame.width_px) / kept)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        deadline_ms = self._settings.deadline_ms
        try:
            async with asyncio.timeout(deadline_ms / 1e3):
                yield
        except TimeoutError:
            raise DeadlineError(f"No answer within {deadline_ms:g} ms; try again later.") from None


class _Stages:
    """One image's milliseconds by stage."""

    def __init__(self) -> None:
        self._since = time.perf_counter()
        self._ms: dict[str, float] = {}

    @contextmanager
    def measure(self, stage: str) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._ms[stage] = 1e3 * (time.perf_counter() - started)

    def add(self, **stages_ms: float) -> None:
        self._ms.update(stages_ms)

    def finish(self, metrics: Metrics) -> dict[str, float]:
        self._ms["total"] = 1e3 * (time.perf_counter() - self._since)
        for stage, ms in self._ms.items():
            metrics.stage(stage, ms / 1e3)
        return self._ms
