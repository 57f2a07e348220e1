"""The spine: decode → defend → preprocess → batch → infer → answer."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import cast

import numpy as np
from numpy.typing import NDArray

from defenses import Image, Pipeline
from models import Classifier, fit, probabilities, to_tensor
from service.auth.client import Client
from service.images import isolated
from service.images.decode import decode
from service.images.defend import SYSTEM_RANDOM, check_defenses, defend_file
from service.scheduling.deadline import as_service_error, deadline
from service.scheduling.scheduler import Scheduler
from service.scheduling.work import Tensor
from service.settings import PredictorSettings
from service.signals.seen import Seen, Viewer
from service.telemetry import logs
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings


@dataclass(frozen=True)
class Classification:
    """The result for one image.

    Attributes:
        probabilities: ``(classes,)`` float32, the mean over the draws.
        scores: ``(classes,)`` float32, the mean over the draws of the graph's output.
        agreement: the share of the draws, in [0, 1], whose most probable class is the mean's.
        unsure: whether the agreement is below the operator's least; None if the operator set none.
        defended: the defended image of each draw, of the model's input size and the source's
            dtype; empty unless it was asked for.
        timings_ms: milliseconds by stage, see :data:`service.telemetry.metrics.STAGES`.
    """

    probabilities: NDArray[np.float32]
    scores: NDArray[np.float32]
    agreement: float
    unsure: bool | None
    defended: Sequence[Image]
    timings_ms: dict[str, float]


class Predictor:
    """Classifies images behind a defence; there is one for each loaded model."""

    def __init__(
        self,
        classifier: Classifier,
        settings: PredictorSettings,
        metrics: Metrics,
        watch: Viewer | None = None,
    ) -> None:
        """Set up; :meth:`start` starts the threads.

        Args:
            classifier: the model.
            settings: how it is defended and run.
            metrics: count what happens.
            watch: looks at images once they are answered; None if nothing does.
        """
        self.classifier = classifier
        self._watch = watch
        self._settings = settings
        self._metrics = metrics
        on_cpu = classifier.provider == "CPUExecutionProvider"
        preparers, streams = settings.preprocess_threads, settings.inference_streams
        self._scheduler = Scheduler(
            classifier.run,
            threads=max(preparers, streams) if on_cpu else preparers + streams,
            preprocess_threads=preparers,
            max_batch=settings.max_batch,
            inference_streams=streams,
            window_s=settings.batch_window_ms / 1e3,
            on_batch=metrics.batch_images.observe,
        )
        # These mostly wait for processes, and no image of predict() waits for them.
        self._defenders = Scheduler(
            threads=isolated.MOST_CHILDREN, preprocess_threads=isolated.MOST_CHILDREN
        )

    async def start(self) -> None:
        """Check the defences against the model's input, warm the model up, then take images.

        Raises:
            DefenseError: a defence does not take images of the model's input size.
        """
        size = self.classifier.manifest.input
        check_defenses(self._settings.pipelines.values(), size.height_px, size.width_px)
        largest = self._settings.max_batch
        # Powers of two, and the largest: all sizes would take the square of the largest's time.
        batch_sizes = sorted({largest, *(2**i for i in range(largest.bit_length()))})
        try:
            self._scheduler.start()
            self._defenders.start()
            # Not in the event loop's own threads: it would wait for them when it ends.
            await self._scheduler.run(lambda: self.classifier.warm_up(batch_sizes))
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Take no more images; everyone who still waits gets an error."""
        self._scheduler.stop()
        self._defenders.stop()

    @property
    def is_ready(self) -> bool:
        """Whether it takes images: it was not stopped, and all of its threads live."""
        return self._scheduler.is_open and self._defenders.is_open

    @property
    def queued_images(self) -> int:
        """The images that wait for a thread or a batch, each draw counting as one."""
        return self._scheduler.queued_images + self._defenders.queued_images

    async def predict(
        self,
        source: bytes | Image,
        pipeline: Pipeline,
        client: Client,
        *,
        draws: int = 1,
        timeout_ms: float | None = None,
        keep_defended: bool = False,
    ) -> Classification:
        """Classify one image: the whole way of the data.

        Args:
            source: the bytes of an image file, or ``(H, W, 3)`` RGB pixels, ``uint8`` in [0, 255]
                or ``float32`` in [0, 1].
            pipeline: the defence.
            client: whose share of the threads this takes, and who is charged for its pixels.
            draws: how many independent draws are averaged.
            timeout_ms: a deadline shorter than the server's own.
            keep_defended: whether the answer needs the defended images.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        timings = Timings(self._metrics)
        manifest = self.classifier.manifest
        defended: list[Image] = []
        watched: list[Image] = []
        signals = (
            frozenset[str]() if self._watch is None else self._watch.signals_for(client.signals)
        )

        def prepare() -> list[Tensor]:
            timings.mark_dequeued()
            with timings.measure("decode"):
                image = fit(self._decode(source, client, until.at_s), manifest)
            with timings.measure("defend"):
                until.check()
                images = []
                for each in pipeline.several(image, SYSTEM_RANDOM, draws):
                    images.append(each)
                    until.check()
            with timings.measure("preprocess"):
                tensors = [to_tensor(each, manifest) for each in images]
            if keep_defended:
                defended.extend(images)
            if signals:  # not a view of the request's body, which is released with its answer
                watched.append(image if isinstance(source, bytes) else image.copy())
            return tensors

        with timings:
            async with deadline(self._settings.deadline_ms, timeout_ms) as until:
                work = self._scheduler.submit(prepare, draws, timings, client.name)
                scores = await as_service_error(work)

        by_draw = probabilities(scores, manifest)
        mean = by_draw.mean(axis=0)
        agreement = float(np.mean(by_draw.argmax(axis=1) == mean.argmax()))
        least = self._settings.min_agreement
        unsure = None if least is None else agreement < least
        if unsure:
            self._metrics.unsure.inc()
        client.agreements.append(agreement)
        self._metrics.images.labels(str(pipeline)).inc(draws)
        if draws > 1 and self._settings.response_detail == "full":  # anyone may read the metrics
            self._metrics.agreement.observe(agreement)
        if self._watch is not None and signals:
            seen = Seen(
                client.name,
                signals,
                manifest,
                watched[0],
                scores[0],
                agreement=agreement if draws > 1 else math.nan,
                infer=self._infer_bare,
                threshold=self._watch.threshold(manifest, pipeline),
                request_id=logs.request_id.get(),
            )
            client.afterwards.append(partial(self._watch.see, seen))
        return Classification(
            mean, scores.mean(axis=0), agreement, unsure, defended, timings.finish()
        )

    async def defend(self, body: bytes, pipeline: Pipeline, client: Client) -> bytes | memoryview:
        """Defend one image file at its own size.

        Args:
            body: the file's bytes.
            pipeline: the defence.
            client: whose share of the threads this takes, and who is charged for its pixels.

        Returns:
            The defended image as a PNG file.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        self._scheduler.check_open()  # a server that is not ready defends nothing either
        timings = Timings(self._metrics)

        def run() -> bytes | memoryview:
            return defend_file(
                body,
                pipeline,
                max_pixels=self._settings.max_pixels,
                max_memory_bytes=self._settings.max_defend_bytes,
                on_pixels=client.charge_pixels,
                until=until,
                timings=timings,
            )

        with timings:
            async with deadline(self._settings.deadline_ms, None) as until:
                png = await as_service_error(self._defenders.run(run, client.name))
        timings.finish()
        self._metrics.images.labels(str(pipeline)).inc()
        return png

    async def _infer_bare(self, image: Image) -> Tensor:
        """Infer an image of the model's input size without a defence: ``(classes,)``."""
        manifest = self.classifier.manifest
        timings = Timings(self._metrics)  # of no request: they are not counted
        scores = await self._scheduler.submit(lambda: [to_tensor(image, manifest)], 1, timings)
        return cast(Tensor, scores[0])

    def _decode(self, source: bytes | Image, client: Client, until_s: float) -> Image:
        if not isinstance(source, bytes):
            client.charge_pixels(source.shape[0] * source.shape[1])
            return source
        return decode(
            source,
            max_pixels=self._settings.max_pixels,
            reduce_to_px=self.classifier.manifest.decode_to_px,
            until_s=until_s,
            on_pixels=client.charge_pixels,
        )
