"""The spine of transformer mode: decode → defend → preprocess → forward."""

import logging
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from numpy.typing import NDArray

from defenses import Image, Pipeline
from service.auth.client import Client
from service.errors import numbered_errors
from service.images.decode import decode
from service.images.defend import SYSTEM_RANDOM
from service.scheduling.deadline import as_service_error, deadline
from service.scheduling.scheduler import Scheduler
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings
from service.transformer.answer import Reply
from service.transformer.input_spec import InputSpec
from service.transformer.upstream import Upstream

Body: TypeAlias = tuple[bytes, dict[str, str]]
"""A request's body, and the headers that describe it."""

WARNED_EVERY_S = 3600.0
"""How often the log repeats that the scaling is a guess."""

_log = logging.getLogger(__name__)


class Transformer:
    """Defends images for a classifier that is served elsewhere, in threads of its own.

    Attributes:
        input_spec: what that classifier takes.
    """

    def __init__(
        self,
        input_spec: InputSpec,
        upstream: Upstream,
        settings: Settings,
        metrics: Metrics,
    ) -> None:
        self.input_spec = input_spec
        self._upstream = upstream
        self._settings = settings
        self._metrics = metrics
        self._warn_again_s = -math.inf
        threads = settings.preprocess_threads
        self._scheduler = Scheduler(threads=threads, preprocess_threads=threads)
        self._scheduler.start()

    def stop(self) -> None:
        """Take no more images; everyone who still waits gets an error."""
        self._scheduler.stop()

    @property
    def is_ready(self) -> bool:
        """Whether it takes images: it was not stopped, and all of its threads live."""
        return self._scheduler.is_open

    @property
    def queued_images(self) -> int:
        """The images that wait for a thread; all images of a request count as one."""
        return self._scheduler.queued_images

    def warn_of_scaling(self, spec: InputSpec) -> None:
        """Log that the scaling of the pixels is a guess, once in :data:`WARNED_EVERY_S`."""
        now_s = time.monotonic()
        if spec.guesses_scaling and now_s >= self._warn_again_s:
            self._warn_again_s = now_s + WARNED_EVERY_S
            _log.warning(
                "%s gets pixels as FP32 from 0 to 1, since nothing describes its scaling. If it "
                "takes other values, its answers are wrong: describe its input in a file, and name "
                "the file with --predictor-manifest.",
                self._settings.model_name,
            )

    async def forward(
        self,
        sources: Sequence[bytes | Image],
        pipeline: Pipeline,
        write: Callable[[list[NDArray[Any]]], Body],
        client: Client,
        *,
        path: str,
        headers: Mapping[str, str],
        input_spec: InputSpec | None = None,
        timeout_ms: float | None = None,
    ) -> Reply:
        """Defend the images of one request, and have the upstream classify them.

        Args:
            sources: the images: files, or ``(H, W, 3)`` pixels.
            pipeline: the defence; every image has a draw of its own.
            write: makes the upstream's request from its tensor's rows.
            client: whose share of the threads this takes, and who is charged for its pixels.
            path: where on the upstream it goes.
            headers: its headers, beside those of the body.
            input_spec: the form of this request's images, if it differs from the upstream's.
            timeout_ms: a deadline shorter than the server's own.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        timings = Timings(self._metrics)
        spec = input_spec or self.input_spec
        self.warn_of_scaling(spec)

        def prepare() -> Body:
            timings.mark_dequeued()
            with timings.measure("decode"):
                images = []
                for number, source in enumerate(sources, 1):
                    until.check()
                    with numbered_errors(number, len(sources)):
                        images.append(spec.fit(self._decode(source, spec, client, until.at_s)))
            with timings.measure("defend"):
                defended = []
                for image in images:
                    until.check()
                    defended.append(pipeline(image, SYSTEM_RANDOM))
            with timings.measure("preprocess"):
                return write(spec.rows(defended))

        with timings:
            async with deadline(self._settings.deadline_ms, timeout_ms) as until:
                body, own_headers = await as_service_error(
                    self._scheduler.run(prepare, client.name)
                )
                with timings.measure("infer"):
                    reply = await self._upstream.post(path, body, {**headers, **own_headers})
        timings.finish()
        self._metrics.images.labels(str(pipeline)).inc(len(sources))
        return reply

    def _decode(
        self, source: bytes | Image, spec: InputSpec, client: Client, until_s: float
    ) -> Image:
        if not isinstance(source, bytes):
            client.charge_pixels(source.shape[0] * source.shape[1])
            return source
        return decode(
            source,
            max_pixels=self._settings.max_pixels,
            reduce_to_px=spec.decode_to_px,
            until_s=until_s,
            on_pixels=client.charge_pixels,
        )
