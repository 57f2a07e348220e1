"""What a server did between two moments, from its metrics of both."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from service.monitor.scrape import Scrape
from service.signals.names import SIGNALS, SQUEEZE

_TOTAL = "warpguard_stage_seconds"
_REASONS = ("identical", "blank", "busy", "not-idle")


@dataclass(frozen=True)
class SignalFigures:
    """What a signal has counted since the server was started.

    Attributes:
        name: of the signal.
        images: how many images it looked at; for squeeze, how many were inferred again.
        flagged: how many of them count towards an event.
        events: how many events there were.
    """

    name: str
    images: int
    flagged: int
    events: int


@dataclass(frozen=True)
class Figures:
    """A server, over some seconds. A figure that is not known is NaN.

    Attributes:
        model: its name, empty while it is being loaded; ``provider`` runs it.
        defenses: those that images were defended with, or else those that are allowed.
        is_ready: whether the server takes images.
        over_s: the seconds that the figures are about.
        since_start: whether these are all seconds since the server was started.
        images_per_s: images that were answered; ``draws_per_s`` counts each draw.
        errors_per_s: errors, those of a form's files included.
        p50_ms, p99_ms: the time of an image, as exact as the histogram's buckets.
        in_flight, in_flight_limit, queued: images at work, each draw counting as one.
        agreement: the mean of the answers with several draws.
        signals: what each signal has counted.
        far: how many images the defence moves further than the threshold of squeeze.
        kept: how many images the signals compare with now.
        skipped: how many images the signals did not count, by the reason.
    """

    model: str
    provider: str
    defenses: Sequence[str]
    is_ready: bool
    over_s: float
    since_start: bool
    images_per_s: float
    draws_per_s: float
    errors_per_s: float
    p50_ms: float
    p99_ms: float
    in_flight: int
    in_flight_limit: int
    queued: int
    agreement: float
    signals: Sequence[SignalFigures]
    far: int
    kept: int
    skipped: dict[str, int]


def figures(now: Scrape, before: Scrape | None = None) -> Figures:
    """Compare two scrapes of one server.

    Args:
        now: the later one.
        before: the earlier one. Without one, or if the server was started again since, the figures
            are about the time since its start.
    """
    if before is None or before.started_s != now.started_s:
        before = Scrape(now.started_s or math.nan, {})
    earlier, over_s = before, now.at_s - before.at_s

    def since(name: str, **labels: str) -> float:
        return now.sum(name, **labels) - earlier.sum(name, **labels)

    def rate(name: str, **labels: str) -> float:
        return since(name, **labels) / over_s if over_s > 0 else math.nan

    buckets = [
        (float(bound), since(f"{_TOTAL}_bucket", stage="total", le=bound))
        for bound in now.labels(f"{_TOTAL}_bucket", "le")
    ]
    answered = since("warpguard_agreement_ratio_count")
    return Figures(
        model=_first(now.labels("warpguard_model_info", "name")),
        provider=_first(now.labels("warpguard_model_info", "provider")),
        defenses=now.labels("warpguard_images_total", "defense"),
        is_ready=now.sum("warpguard_ready") == 1,
        over_s=over_s,
        since_start=not before.samples,
        images_per_s=rate(f"{_TOTAL}_count", stage="total"),
        draws_per_s=rate("warpguard_images_total"),
        errors_per_s=rate("warpguard_errors_total"),
        p50_ms=1e3 * quantile(0.5, buckets),
        p99_ms=1e3 * quantile(0.99, buckets),
        in_flight=int(now.sum("warpguard_in_flight_images")),
        in_flight_limit=int(now.sum("warpguard_in_flight_limit_images")),
        queued=int(now.sum("warpguard_queued_images")),
        agreement=since("warpguard_agreement_ratio_sum") / answered if answered else math.nan,
        signals=[_signal(now, name) for name in SIGNALS],
        far=int(now.sum("warpguard_signal_far_images_total")),
        kept=int(now.sum("warpguard_signal_kept_images")),
        skipped={
            reason: int(now.sum("warpguard_signal_skipped_images_total", reason=reason))
            for reason in _REASONS
        },
    )


def quantile(share: float, buckets: Sequence[tuple[float, float]]) -> float:
    """Estimate a quantile as Prometheus does: linear within a bucket; NaN without any values.

    Args:
        share: which one, in (0, 1).
        buckets: the upper bound of each bucket, and how many values are at most that.
    """
    lower, below = 0.0, 0.0
    buckets = sorted(dict(buckets).items())
    wanted = share * buckets[-1][1] if buckets else 0.0
    if not wanted:
        return math.nan
    for upper, count in buckets:
        if count >= wanted:
            if math.isinf(upper):
                return lower
            return lower + (upper - lower) * (wanted - below) / (count - below)
        lower, below = upper, count
    return math.nan


def _signal(now: Scrape, name: str) -> SignalFigures:
    if name == SQUEEZE:
        images = now.sum("warpguard_signal_squeeze_distance_count")
    else:
        images = now.sum("warpguard_signal_neighbor_images_count", signal=name)
    flagged = now.sum("warpguard_signal_flagged_images_total", signal=name)
    events = now.sum("warpguard_signal_events_total", signal=name)
    return SignalFigures(name, int(images), int(flagged), int(events))


def _first(values: Sequence[str]) -> str:
    return values[0] if values else ""
