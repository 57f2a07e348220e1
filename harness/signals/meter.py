"""What the signals have counted so far, from the metrics on the server's admin port."""

import time
from dataclasses import dataclass, field

from prometheus_client.parser import text_string_to_metric_families

from harness.endpoint.transport import Transport
from harness.errors import EndpointError
from harness.signals.outcome import SQUEEZE_THRESHOLD

_PREFIX = "warpguard_signal_"
_LOOKED_WITHIN_S = 120.0
_SQUEEZED_WITHIN_S = 15.0
"""An image that the server has no time for is skipped after ten seconds."""
_ASK_EVERY_S = 0.005


@dataclass(frozen=True)
class Reading:
    """Counts of images since the server's start, or between two readings.

    Attributes:
        looks: how often an image was looked at or skipped: once for the signals that compare
            images, and once more for squeeze.
        squeezed: how many images were inferred again.
        far: how many of these the defence moves further than the threshold.
        flagged: by signal, the images that were the 21st or a later one.
        events: by signal.
        skipped: by the reason.
    """

    looks: int = 0
    squeezed: int = 0
    far: int = 0
    flagged: dict[str, int] = field(default_factory=dict)
    events: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)

    def since(self, earlier: "Reading") -> "Reading":
        """Return what was counted after an earlier reading."""

        def less(now: dict[str, int], before: dict[str, int]) -> dict[str, int]:
            return {name: count - before.get(name, 0) for name, count in now.items()}

        return Reading(
            self.looks - earlier.looks,
            self.squeezed - earlier.squeezed,
            self.far - earlier.far,
            less(self.flagged, earlier.flagged),
            less(self.events, earlier.events),
            less(self.skipped, earlier.skipped),
        )


def parse(text: str) -> Reading:
    """Read the counts from metrics in Prometheus' text format.

    Raises:
        ValueError: the text is not in this format.
    """
    values: dict[str, float] = {}
    by_label: dict[str, dict[str, int]] = {"flagged": {}, "events": {}, "skipped": {}}
    lines = [line for line in text.splitlines() if _PREFIX in line]
    for family in text_string_to_metric_families("\n".join(lines) + "\n"):
        for sample in family.samples:
            name = sample.name.removeprefix(_PREFIX)
            kind = name.removesuffix("_total").removesuffix("_images")
            if kind in by_label:
                (label,) = sample.labels.values()
                by_label[kind][label] = int(sample.value)
            elif sample.labels.get("le") == f"{SQUEEZE_THRESHOLD:g}":
                values["near"] = sample.value
            elif not sample.labels:
                values[name] = sample.value
    squeezed = int(values.get("squeeze_distance_count", 0))
    skipped = by_label["skipped"]
    return Reading(
        looks=int(values.get("images_total", 0)) + sum(skipped.values()) + squeezed,
        squeezed=squeezed,
        far=squeezed - int(values.get("near", 0)),
        **by_label,
    )


class Meter:
    """Reads the metrics after each post, once the signals have looked at it.

    Attributes:
        squeezes: whether every image is inferred again; known after the first post.
    """

    def __init__(self, url: str) -> None:
        """Connect.

        Args:
            url: of the server's admin port, such as ``http://127.0.0.1:9090``.

        Raises:
            EndpointError: the address has no metrics.
        """
        self._transport = Transport(url)
        self.squeezes: bool | None = None
        try:
            self._last = self._read()
        except EndpointError:
            self.close()
            raise

    def close(self) -> None:
        """Close the connections."""
        self._transport.close()

    def after_a_post(self) -> Reading:
        """Wait until the signals have looked at the image that was just posted.

        Returns:
            What they counted for it.

        Raises:
            EndpointError: they do not look at it, or someone else posts images too.
        """
        found = self._wait(2 if self.squeezes else 1, _LOOKED_WITHIN_S)
        if self.squeezes is None:
            self.squeezes = found.looks > 1 or self._wait(2, _SQUEEZED_WITHIN_S).looks > 1
            found = self._read().since(self._last)
        if found.looks == 0:
            raise EndpointError(
                f"The signals of {self._transport.url} have not looked at a posted image within "
                f"{_LOOKED_WITHIN_S:g} s. Start the server with --alarm "
                "same-picture,concentration,squeeze, and give the key no alarm= of its own."
            )
        if found.looks != (2 if self.squeezes else 1):
            raise EndpointError(
                f"{self._transport.url} has counted {found.looks} looks at one posted image. "
                "Its figures can be measured only while nobody else posts images, and "
                "with a --squeeze-share of 0 or 1."
            )
        self._last = self._read()
        return found

    def _wait(self, looks: int, within_s: float) -> Reading:
        """Return what was counted for the last post, at the latest after some seconds."""
        give_up = time.monotonic() + within_s
        while True:
            found = self._read().since(self._last)
            if found.looks >= looks or time.monotonic() > give_up:
                return found
            time.sleep(_ASK_EVERY_S)

    def _read(self) -> Reading:
        answer = self._transport.get("/metrics")
        try:
            return parse(answer.body.decode())
        except ValueError:
            raise EndpointError(f"{answer.url} has no metrics in Prometheus' format.") from None
