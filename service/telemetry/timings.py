"""One image's time by stage: for its answer, for the metrics, and for the trace of its request."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Self

from opentelemetry import trace

from service.telemetry.metrics import Metrics

_tracer = trace.get_tracer("warpguard")


@dataclass(frozen=True)
class _Stage:
    name: str
    started: float
    ended: float
    error: str | None = None


class Stages:
    """The stages of one image, from its body's last byte on.

    As a context it tells the trace, whatever became of the image; :meth:`finish` tells the rest.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._since = time.perf_counter()
        self._stages: list[_Stage] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._trace()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a stage of :data:`service.telemetry.metrics.STAGES`, in whichever thread it runs."""
        started = time.perf_counter()
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._stages.append(_Stage(name, started, time.perf_counter(), error))

    def waited(self) -> None:
        """Count what has passed since the body's last byte as the beginning of the stage queue."""
        self._stages.append(_Stage("queue", self._since, time.perf_counter()))

    def add(self, **stages_ms: float) -> None:
        """Add stages that were measured elsewhere and followed the last one in this order."""
        for name, ms in stages_ms.items():
            started = self._stages[-1].ended if self._stages else self._since
            self._stages.append(_Stage(name, started, started + ms / 1e3))

    def finish(self) -> dict[str, float]:
        """Tell the metrics; return the milliseconds by stage, with ``total``."""
        total = _Stage("total", self._since, time.perf_counter())
        seconds: dict[str, float] = {}
        for each in (*self._stages, total):  # an image waits twice
            seconds[each.name] = seconds.get(each.name, 0.0) + each.ended - each.started
        for name, value in seconds.items():
            self._metrics.stage(name, value)
        return {name: 1e3 * value for name, value in seconds.items()}

    def _trace(self) -> None:
        """Add spans to the request's own, which FastAPI makes where traces are on.

        They are told afterwards, since the stages run in other threads, and in batches of several
        requests.
        """
        if not trace.get_current_span().is_recording():
            return
        epoch_s = time.time() - time.perf_counter()
        for stage in tuple(self._stages):  # a worker may still add one after the deadline
            span = _tracer.start_span(stage.name, start_time=_ns(epoch_s + stage.started))
            if stage.error is not None:
                span.set_attribute("error.type", stage.error)
                span.set_status(trace.StatusCode.ERROR)
            span.end(_ns(epoch_s + stage.ended))


def _ns(seconds: float) -> int:
    return int(1e9 * seconds)
