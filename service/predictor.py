"""The spine: decode → defend → preprocess → batch → infer → answer."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from random import SystemRandom
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from defenses import Image, Pipeline
from models import Classifier, fit, probabilities, to_tensor
from service.batcher import Batcher, Tensor
from service.decode import decode, encode_png
from service.errors import DeadlineError
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
        scores: ``(classes,)`` float32, the mean over the draws of what the graph gave.
        agreement: the share of the draws, in [0, 1], whose most probable class is the mean's.
        defended: for each draw the image that was classified, of the model's input size and of the
            dtype that came in.
        stages_ms: milliseconds by stage, see :data:`service.metrics.STAGES`.
    """

    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    agreement: float
    defended: Sequence[Image]
    stages_ms: dict[str, float]


class Predictor:
    """Classifies images behind a defence; one for each model that is loaded."""

    def __init__(self, classifier: Classifier, settings: Settings, metrics: Metrics) -> None:
        self.classifier = classifier
        self._settings = settings
        self._metrics = metrics
        self._workers = ThreadPoolExecutor(
            settings.workers, thread_name_prefix="defend", initializer=yield_to_the_event_loop
        )
        self._batcher = Batcher(
            classifier.run,
            max_rows=settings.max_batch,
            lanes=settings.lanes,
            window_s=settings.batch_window_ms / 1e3,
            on_batch=metrics.batch_images.observe,
        )

    async def start(self) -> None:
        """Warm up every batch size, then take images."""
        sizes = range(1, self._settings.max_batch + 1)
        await asyncio.to_thread(self.classifier.warm_up, sizes)
        self._batcher.start()

    async def stop(self) -> None:
        """Take no more images; who still waits is told so."""
        await self._batcher.stop()
        self._workers.shutdown(wait=False, cancel_futures=True)

    @property
    def queued_images(self) -> int:
        """The images that wait for a batch, each draw counting as one."""
        return self._batcher.queued_rows

    @property
    def is_inferring(self) -> bool:
        """Whether the model runs at this moment."""
        return self._batcher.is_running

    async def predict(
        self,
        source: bytes | Image,
        pipeline: Pipeline,
        *,
        draws: int = 1,
        timeout_ms: float | None = None,
    ) -> Outcome:
        """Classify one image: the whole way of the data.

        Args:
            source: the bytes of an image file, or ``(H, W, 3)`` RGB pixels, ``uint8`` in [0, 255]
                or ``float32`` in [0, 1].
            pipeline: the defence.
            draws: how many independent draws are averaged.
            timeout_ms: a deadline shorter than the server's own.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        stages = _Stages()
        manifest = self.classifier.manifest

        def prepare() -> tuple[list[Image], list[Tensor]]:
            with stages.measure("decode"):
                image = fit(self._decode(source), manifest)
            with stages.measure("defend"):
                defended = [pipeline(image, _SYSTEM_RANDOM) for _ in range(draws)]
            with stages.measure("preprocess"):
                return defended, [to_tensor(each, manifest) for each in defended]

        async with self._deadline(timeout_ms):
            defended, tensors = await self._in_worker(prepare)
            inferred = await self._batcher.infer(tensors)

        stages.add(queue=inferred.queue_ms, infer=inferred.infer_ms)
        by_draw = probabilities(inferred.scores, manifest)
        mean = by_draw.mean(axis=0)
        agreement = float(np.mean(by_draw.argmax(axis=1) == mean.argmax()))
        self._metrics.images.labels(str(pipeline)).inc(draws)
        if draws > 1:
            self._metrics.agreement.observe(agreement)
        scores = inferred.scores.mean(axis=0)
        return Outcome(mean, scores, agreement, defended, stages.finish(self._metrics))

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

        async with self._deadline(None):
            png = await self._in_worker(run)
        self._metrics.images.labels(str(pipeline)).inc()
        return png

    def _decode(self, source: bytes | Image) -> Image:
        if not isinstance(source, bytes):
            return source
        frame, resize = self.classifier.manifest.input, self.classifier.manifest.resize
        kept = resize.crop_fraction if resize.mode == "crop" else 1.0
        # The side that fit() can still reduce from, whatever it crops.
        enough_px = math.ceil(max(frame.height_px, frame.width_px) / kept)
        return decode(source, max_pixels=self._settings.max_pixels, enough_px=enough_px)

    async def _in_worker(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._workers, work)

    @asynccontextmanager
    async def _deadline(self, timeout_ms: float | None) -> AsyncIterator[None]:
        deadline_ms = min(self._settings.deadline_ms, timeout_ms or math.inf)
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
