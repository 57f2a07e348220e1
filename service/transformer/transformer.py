"""The spine of transformer mode: decode → defend → preprocess → forward."""

from collections.abc import Callable, Mapping, Sequence
from random import SystemRandom
from typing import Any, TypeAlias

from numpy.typing import NDArray

from defenses import Image, Pipeline
from service.errors import told_of
from service.images.decode import decode
from service.scheduling.deadline import Workers, deadline
from service.settings import Settings
from service.telemetry.metrics import Metrics
from service.telemetry.timings import Stages
from service.transformer.input_spec import Frame
from service.transformer.upstream import Reply, Upstream

Body: TypeAlias = tuple[bytes, dict[str, str]]
"""Of a request, and the headers that say what it is."""

_SYSTEM_RANDOM = SystemRandom()


class Transformer:
    """Defends images for a classifier that is served elsewhere."""

    def __init__(self, settings: Settings, metrics: Metrics, upstream: Upstream) -> None:
        self._settings = settings
        self._metrics = metrics
        self._upstream = upstream
        self._workers = Workers(settings.workers)

    def stop(self) -> None:
        """Begin nothing more."""
        self._workers.stop()

    async def forward(
        self,
        sources: Sequence[bytes | Image],
        pipeline: Pipeline,
        frame: Frame,
        write: Callable[[list[NDArray[Any]]], Body],
        *,
        path: str,
        headers: Mapping[str, str],
        timeout_ms: float | None = None,
    ) -> Reply:
        """Defend the images of one request, and have the upstream classify them.

        Args:
            sources: the images: files, or ``(H, W, 3)`` pixels.
            pipeline: the defence; every image has a draw of its own.
            frame: what the upstream takes.
            write: makes the request to the upstream of its tensor's rows.
            path: where on the upstream it goes.
            headers: that go with it, beside those of the body.
            timeout_ms: a deadline shorter than the server's own.

        Raises:
            ServiceError: see :mod:`service.errors`.
        """
        stages = Stages(self._metrics)

        def prepare() -> Body:
            with stages.measure("decode"):
                images = []
                for number, source in enumerate(sources, 1):
                    with told_of(number, len(sources)):
                        images.append(frame.fit(self._decode(source, frame)))
            with stages.measure("defend"):
                defended = [pipeline(image, _SYSTEM_RANDOM) for image in images]
            with stages.measure("preprocess"):
                return write(frame.rows(defended))

        with stages:
            async with deadline(self._settings.deadline_ms, timeout_ms):
                body, own_headers = await self._workers.defend(prepare)
                with stages.measure("infer"):
                    reply = await self._upstream.post(path, body, {**headers, **own_headers})
        stages.finish()
        self._metrics.images.labels(str(pipeline)).inc(len(sources))
        return reply

    def _decode(self, source: bytes | Image, frame: Frame) -> Image:
        if not isinstance(source, bytes):
            return source
        return decode(source, max_pixels=self._settings.max_pixels, enough_px=frame.enough_px)
