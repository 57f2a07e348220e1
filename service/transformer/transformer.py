"""The spine of transformer mode: decode → defend → preprocess → forward."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

from numpy.typing import NDArray

from defenses import Image, Pipeline
from service.errors import numbered_errors
from service.images.decode import decode
from service.images.defend import SYSTEM_RANDOM
from service.scheduling.deadline import as_service_error, deadline
from service.scheduling.scheduler import Scheduler
from service.settings import PredictorSettings
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Timings
from service.transformer.input_spec import InputSpec
from service.transformer.upstream import Reply, Upstream

Body: TypeAlias = tuple[bytes, dict[str, str]]
"""A request's body, and the headers that describe it."""


@dataclass(frozen=True, eq=False)
class Transformer:
    """Defends images for a classifier that is served elsewhere.

    Attributes:
        input_spec: what that classifier takes.
        upstream: the server that it is on.
        scheduler: the threads that defend.
    """

    input_spec: InputSpec
    upstream: Upstream
    scheduler: Scheduler
    settings: PredictorSettings
    metrics: Metrics

    async def forward(
        self,
        sources: Sequence[bytes | Image],
        pipeline: Pipeline,
        write: Callable[[list[NDArray[Any]]], Body],
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
            path: where on the upstream it goes.
            headers: its headers, beside those of the body.
            input_spec: the form of this request's images, if it differs from the upstream's.
            timeout_ms: a deadline shorter than the server's own.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        timings = Timings(self.metrics)
        spec = input_spec or self.input_spec

        def prepare() -> Body:
            timings.mark_dequeued()
            with timings.measure("decode"):
                images = []
                for number, source in enumerate(sources, 1):
                    with numbered_errors(number, len(sources)):
                        images.append(spec.fit(self._decode(source, spec)))
            with timings.measure("defend"):
                defended = [pipeline(image, SYSTEM_RANDOM) for image in images]
            with timings.measure("preprocess"):
                return write(spec.rows(defended))

        with timings:
            async with deadline(self.settings.deadline_ms, timeout_ms):
                body, own_headers = await as_service_error(self.scheduler.run(prepare))
                with timings.measure("infer"):
                    reply = await self.upstream.post(path, body, {**headers, **own_headers})
        timings.finish()
        self.metrics.images.labels(str(pipeline)).inc(len(sources))
        return reply

    def _decode(self, source: bytes | Image, spec: InputSpec) -> Image:
        if not isinstance(source, bytes):
            return source
        max_pixels = self.settings.max_pixels
        return decode(source, max_pixels=max_pixels, reduce_to_px=spec.decode_to_px)
