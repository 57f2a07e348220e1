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
    started_s: float
    ended_s: float
    error: str | None = None


class Timings:
    """The stages of one image, from its body's last byte on.

    Every part of the image's way records its own stage here, in whichever thread it runs. On exit
    the spans are recorded, even on failure; :meth:`finish` updates the metrics and returns the
    milliseconds.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._created_s = time.perf_counter()
        self._stages: list[_Stage] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._record_spans()

    @contextmanager
    def measure(self, name: str) -> Iterator[None]:
        """Measure a block as a stage of :data:`service.telemetry.metrics.STAGES`."""
        started_s = time.perf_counter()
        error = None
        try:
            yield
        except BaseException as raised:
            error = type(raised).__name__
            raise
        finally:
            self._stages.append(_Stage(name, started_s, time.perf_counter(), error))

    def record(self, name: str, started_s: float, ended_s: float) -> None:
        """Add a stage by its two times of :func:`time.perf_counter`, in seconds."""
        self._stages.append(_Stage(name, started_s, ended_s))

    def mark_dequeued(self) -> None:
        """End the first wait: from the body's last byte until a thread takes the image."""
        self.record("queue", self._created_s, time.perf_counter())

    def finish(self) -> dict[str, float]:
        """Update the metrics; return the milliseconds by stage, with their ``total``."""
        total = _Stage("total", self._created_s, time.perf_counter())
        seconds: dict[str, float] = {}
        for each in (*self._stages, total):  # an image waits twice: for a thread and for a batch
            seconds[each.name] = seconds.get(each.name, 0.0) + each.ended_s - each.started_s
        for name, value in seconds.items():
            self._metrics.stage(name, value)
        return {name: 1e3 * value for name, value in seconds.items()}

    def _record_spans(self) -> None:
        """Add spans to the request's own span, which FastAPI makes if traces are on.

        They are recorded at the end because the stages run in other threads, and in batches of
        several requests.
        """
        if not trace.get_current_span().is_recording():
            return
        epoch_s = time.time() - time.perf_counter()
        for stage in tuple(self._stages):  # a thread may still add one after the deadline
            span = _tracer.start_span(stage.name, start_time=_ns(epoch_s + stage.started_s))
            if stage.error is not None:
                span.set_attribute("error.type", stage.error)
                span.set_status(trace.StatusCode.ERROR)
            span.end(_ns(epoch_s + stage.ended_s))


def _ns(seconds: float) -> int:
    return int(1e9 * seconds)
