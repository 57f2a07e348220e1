"""The rate limit of an API key: a token bucket of images."""

import math
import time

from service.errors import RateLimitedError


class Bucket:
    """Holds the images that a key may ask for: it fills at a rate, up to its burst."""

    def __init__(self, rate: float, burst: float) -> None:
        """Make a full bucket.

        Args:
            rate: images a second.
            burst: images at once.
        """
        self._rate = rate
        self._burst = burst
        self._left = burst
        self._updated_s = time.monotonic()

    def check(self, images: int) -> None:
        """Return if some images may be asked for now.

        A request larger than the burst is allowed when the bucket is full. The balance then goes
        negative and refills.

        Raises:
            RateLimitedError: the bucket holds too few; the error says when to try again.
        """
        now_s = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now_s - self._updated_s))
        self._updated_s = now_s
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
            RateLimitedError: the bucket holds too few; nothing is taken.
        """
        self.check(images)
        self._left -= images
