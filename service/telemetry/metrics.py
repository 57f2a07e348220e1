"""The Prometheus metrics. Labels are route templates and fixed words: no client adds series."""

from collections.abc import Iterable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Info,
    ProcessCollector,
    disable_created_metrics,
)

from service.errors import ServiceError
from service.signals.names import SIGNALS, SQUEEZE

STAGES = ("receive", "decode", "defend", "preprocess", "queue", "infer", "total")

_SECONDS = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip
_SHARES = (0.25, 0.5, 0.625, 0.75, 0.875, 1.0)

# They would add a series to each counter and histogram, and no dashboard uses them.
disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """One server's metrics, in a registry of their own."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry()
        counter = partial(Counter, registry=self.registry)
        gauge = partial(Gauge, registry=self.registry)
        histogram = partial(Histogram, registry=self.registry)
        info = partial(Info, registry=self.registry)
        self.requests = counter(
            "warpguard_requests", "Answers by route and status.", ("route", "status")
        )
        self._errors = counter(
            "warpguard_errors",
            "Requests, or files of a form, answered with an error, by its code.",
            ("code",),
        )
        self.images = counter(
            "warpguard_images",
            "Images defended, each draw counting as one, by defence.",
            ("defense",),
        )
        stages = histogram(
            "warpguard_stage_seconds",
            "Time of each stage of an image, from its body to its answer.",
            ("stage",),
            buckets=_SECONDS,
        )
        self.batch_images = histogram(
            "warpguard_batch_images",
            "Images of one inference.",
            buckets=(1, 2, 4, 8, 16, 32, 64, 128, 256),
        )
        self.agreement = histogram(
            "warpguard_agreement_ratio",
            "Share of the draws that agree with the answer, for answers of several draws.",
            buckets=_SHARES,
        )
        self.unsure = counter(
            "warpguard_unsure_answers", "Answers whose draws agree less than --min-agreement."
        )
        self.in_flight = gauge(
            "warpguard_in_flight_images", "Images at work, each draw counting as one."
        )
        self.in_flight_limit = gauge(
            "warpguard_in_flight_limit_images",
            "Most images at work at once; beyond it requests are answered 429.",
        )
        self.queued = gauge("warpguard_queued_images", "Images that wait for a thread or a batch.")
        self.connections = gauge("warpguard_connections", "Open connections.")
        self.ready = gauge("warpguard_ready", "1 once the model is loaded and warm.")
        self.model = info("warpguard_model", "The served model and its provider.")
        info("warpguard_build", "The version.").info({"version": version})
        ProcessCollector(registry=self.registry)
        self.signals = SignalMetrics(self.registry)
        # Create every series at start; rate() misses the first event of a series born with it.
        self._stages = {stage: stages.labels(stage) for stage in STAGES}
        for error in ServiceError.__subclasses__():
            self._errors.labels(error.code)

    def expect(self, defenses: Iterable[str], in_flight_limit: int) -> None:
        """Create the series of what this server allows."""
        for name in defenses:
            self.images.labels(name)
        self.in_flight_limit.set(in_flight_limit)

    def count_error(self, code: str) -> None:
        """Count an error by its code, see :mod:`service.errors`."""
        self._errors.labels(code).inc()

    def stage(self, name: str, seconds: float) -> None:
        """Count one image's time in a stage of :data:`STAGES`."""
        self._stages[name].observe(seconds)


class SignalMetrics:
    """The metrics of :mod:`service.signals`.

    Attributes:
        images: counts the images that were looked at and kept.
        kept: how many images are kept now.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        counter = partial(Counter, registry=registry)
        self.images = counter("warpguard_signal_images", "Images that the signals looked at.")
        self.kept = Gauge(
            "warpguard_signal_kept_images",
            "Images whose fingerprints are in memory.",
            registry=registry,
        )
        self._skipped = counter(
            "warpguard_signal_skipped_images",
            "Images that the signals did not count, by the reason.",
            ("reason",),
        )
        self._flagged = counter(
            "warpguard_signal_flagged_images",
            "Images that are the 21st or a later one that a signal counts of their client.",
            ("signal",),
        )
        self._events = counter(
            "warpguard_signal_events", "Events for the operator, by signal.", ("signal",)
        )
        self._neighbors = Histogram(
            "warpguard_signal_neighbor_images",
            "How many earlier images of its client an image is like, by signal.",
            ("signal",),
            buckets=(0, 1, 5, 20, 100),
            registry=registry,
        )
        self._squeezed = Histogram(
            "warpguard_signal_squeeze_distance",
            "L1 distance, in [0, 2], between the probabilities without and behind the defence.",
            buckets=(0.25, 0.5, 0.75, 1.0, 1.1, 1.25, 1.5, 2.0),
            registry=registry,
        )
        self._far = counter(
            "warpguard_signal_far_images",
            "Images that were inferred again, and moved further than the threshold.",
        )
        for reason in ("blank", "busy", "identical", "not-idle"):
            self._skipped.labels(reason)
        for signal in SIGNALS:
            self._flagged.labels(signal)
            self._events.labels(signal)
            if signal != SQUEEZE:
                self._neighbors.labels(signal)

    def skip(self, reason: str) -> None:
        """Count an image that is not looked at."""
        self._skipped.labels(reason).inc()

    def neighbors(self, signal: str, images: int) -> None:
        """Count an image by how many earlier ones it is like."""
        self._neighbors.labels(signal).observe(images)

    def squeezed(self, distance: float, *, is_far: bool) -> None:
        """Count an image that was inferred again, by the L1 distance of its probabilities."""
        self._squeezed.observe(distance)
        if is_far:
            self._far.inc()

    def flag(self, signal: str) -> None:
        """Count an image that is the 21st or a later one that a signal counts of its client."""
        self._flagged.labels(signal).inc()

    def count_event(self, signal: str) -> None:
        """Count an event."""
        self._events.labels(signal).inc()
