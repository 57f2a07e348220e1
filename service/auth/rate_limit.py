"""How many images a second a client may ask for."""

import math
import time

from service.errors import RateLimitedError


class Bucket:
    """Holds what may be asked for: it fills at a rate, and never over its burst."""

    def __init__(self, rate: float, burst: float) -> None:
        """Make a full bucket.

        Args:
            rate: images a second.
            burst: images at once.
        """
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._since = time.monotonic()

    def check(self, images: int) -> None:
        """Return if some images may be asked for now.

        More than the burst may be if the bucket is full; what is missing then is filled up later.

        Raises:
            RateLimitedError: they may not be; it says when.
        """
        now = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now - self._since))
        self._since = now
        missing = min(images, self._burst) - self._left
        if missing > 0:
            wait_s = math.ceil(missing / self._rate)
            raise RateLimitedError(
                f"This key may ask for {self._rate:g} images a second; try again in {wait_s} s.",
                retry_after_s=wait_s,
            )

    def take(self, images: int) -> None:
        """Ask for some images.

        Raises:
            RateLimitedError: not now; nothing is taken.
        """
        self.check(images)
        self._left -= images
