"""The spine: decode → defend → preprocess → batch → infer → answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import SystemRandom

import numpy as np
from numpy.typing import NDArray

from defenses import Image, Pipeline
from models import Classifier, fit, probabilities, to_tensor
from service.images.decode import decode, encode_png
from service.scheduling.deadline import deadline, tellable
from service.scheduling.scheduler import Crew, Tensor
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Stages

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
        stages_ms: milliseconds by stage, see :data:`service.telemetry.metrics.STAGES`.
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
        on_cpu = classifier.provider == "CPUExecutionProvider"
        workers, lanes = settings.workers, settings.lanes
        self._crew = Crew(
            classifier.run,
            threads=max(workers, lanes) if on_cpu else workers + lanes,
            workers=workers,
            max_rows=settings.max_batch,
            lanes=lanes,
            window_s=settings.batch_window_ms / 1e3,
            on_batch=metrics.batch_images.observe,
        )

    async def start(self) -> None:
        """Check the defences against the model's input, warm the model up, then take images.

        Raises:
            DefenseError: a defence that images of the model's input size cannot have.
        """
        frame = self.classifier.manifest.input
        for pipeline in self._settings.pipelines.values():
            pipeline.sample(_SYSTEM_RANDOM, (frame.height_px, frame.width_px))
        most = self._settings.max_batch
        # Powers of two, and the largest: all sizes would take the square of the largest's time.
        sizes = sorted({most, *(2**i for i in range(most.bit_length()))})
        # Not in the event loop's own threads: it would wait for them when it ends.
        self._crew.start()
        try:
            await self._crew.run(lambda: self.classifier.warm_up(sizes))
        except BaseException:
            self._crew.stop()
            raise

    async def stop(self) -> None:
        """Take no more images; who still waits is told so."""
        self._crew.stop()

    @property
    def queued_images(self) -> int:
        """The images that wait for a thread or a batch, each draw counting as one."""
        return self._crew.queued_rows

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
        stages = Stages(self._metrics)
        manifest = self.classifier.manifest

        def prepare() -> tuple[list[Image], list[Tensor]]:
            stages.waited()
            with stages.measure("decode"):
                image = fit(self._decode(source), manifest)
            with stages.measure("defend"):
                defended = [pipeline(image, _SYSTEM_RANDOM) for _ in range(draws)]
            with stages.measure("preprocess"):
                return defended, [to_tensor(each, manifest) for each in defended]

        with stages:
            async with deadline(self._settings.deadline_ms, timeout_ms):
                defended, inferred = await tellable(self._crew.infer(prepare, draws))
            stages.add(queue=inferred.queue_ms, infer=inferred.infer_ms)

        by_draw = probabilities(inferred.scores, manifest)
        mean = by_draw.mean(axis=0)
        agreement = float(np.mean(by_draw.argmax(axis=1) == mean.argmax()))
        self._metrics.images.labels(str(pipeline)).inc(draws)
        if draws > 1 and self._settings.response_detail == "full":  # metrics may be read by anyone
            self._metrics.agreement.observe(agreement)
        scores = inferred.scores.mean(axis=0)
        return Outcome(mean, scores, agreement, defended, stages.finish())

    async def defend(self, body: bytes, pipeline: Pipeline) -> bytes:
        """Defend one image file at its own size.

        Returns:
            The defended image as a PNG file.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        stages = Stages(self._metrics)

        def run() -> bytes:
            with stages.measure("decode"):
                image = decode(body, max_pixels=self._settings.max_pixels)
            with stages.measure("defend"):
                defended = pipeline(image, _SYSTEM_RANDOM)
            return encode_png(defended)

        with stages:
            async with deadline(self._settings.deadline_ms, None):
                png = await tellable(self._crew.run(run))
        stages.finish()
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
