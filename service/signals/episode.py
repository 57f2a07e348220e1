"""When a client's images are worth an event: at 20, 40, 80 … of them, and at most once a minute."""

import math
from dataclasses import dataclass, field
from uuid import uuid4

FIRST_LEVEL = 20
"""How many earlier images must be like a new one."""
LEAST_S = 60.0
"""The least time between two events about one client."""
QUIET_S = 3600.0
"""After this time without a flagged image, the next one begins another episode."""


@dataclass
class Tally:
    """What one signal has counted in an episode.

    Attributes:
        images: how many images were alike.
        first_s: when the first of them was seen, as :func:`time.monotonic` counts.
        last_s: when the last of them was seen.
        level: at how many of them the next event is due.
        agreements: how many of them had several draws.
        agreement_sum: the sum of the agreements of these.
    """

    images: int = 0
    first_s: float = math.inf
    last_s: float = -math.inf
    level: int = FIRST_LEVEL
    agreements: int = 0
    agreement_sum: float = 0.0

    @property
    def agreement(self) -> float | None:
        """The mean agreement of the images with several draws; None if there are none."""
        return self.agreement_sum / self.agreements if self.agreements else None

    def add(self, images: int, first_s: float, last_s: float) -> None:
        """Count some images."""
        self.images += images
        self.first_s = min(self.first_s, first_s)
        self.last_s = max(self.last_s, last_s)

    def add_agreement(self, agreements: list[float]) -> None:
        """Count the agreement of some images; NaN is that of an image with one draw."""
        several = [each for each in agreements if not math.isnan(each)]
        self.agreements += len(several)
        self.agreement_sum += sum(several)


@dataclass
class Episode:
    """A client's flagged images, from the first one until an hour without any.

    Attributes:
        uid: names the episode in its events.
        tallies: by signal.
        events: how many events there were.
    """

    uid: str = field(default_factory=lambda: uuid4().hex)
    tallies: dict[str, Tally] = field(default_factory=dict)
    events: int = 0
    _event_s: float = -math.inf

    def is_over(self, now_s: float) -> bool:
        """Whether the last flagged image is so long ago that the next begins another episode."""
        last_s = max((each.last_s for each in self.tallies.values()), default=math.inf)
        return now_s - last_s > QUIET_S

    def has(self, signal: str) -> bool:
        """Whether a signal has flagged an image."""
        return signal in self.tallies

    def tally(self, signal: str) -> Tally:
        """What a signal has counted."""
        return self.tallies.setdefault(signal, Tally())

    def take_due(self, now_s: float) -> list[str]:
        """The signals for which an event is due now; the next is due at twice as many images.

        An event that comes less than a minute after another one is due later, with the first image
        after that minute.
        """
        reached = [name for name, each in self.tallies.items() if each.images >= each.level]
        if not reached or now_s - self._event_s < LEAST_S:
            return []
        for name in reached:
            tally = self.tallies[name]
            while tally.level <= tally.images:
                tally.level *= 2
        self._event_s = now_s
        self.events += 1
        return reached
