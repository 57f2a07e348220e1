"""The rate limit of an API key: a token bucket of images."""

import math
import threading
import time

from service.errors import RateLimitedError


class Bucket:
    """Holds the images that a key may ask for: it fills at a rate, up to its burst.

    Any thread may use it.
    """

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
        self._lock = threading.Lock()

    def check(self, images: float) -> None:
        """Return if some images may be asked for now.

        Raises:
            RateLimitedError: the bucket holds too few; the error says when to try again.
        """
        with self._lock:
            self._check(images, 0)

    def take(self, images: float, taken: float = 0) -> None:
        """Ask for some images.

        A request larger than the burst is allowed when the bucket is full. The balance then goes
        negative and refills.

        Args:
            images: how many.
            taken: how many of them were taken before.

        Raises:
            RateLimitedError: the bucket holds too few; nothing is taken.
        """
        with self._lock:
            self._check(images, taken)
            self._left -= images - taken

    def owe(self, images: float) -> None:
        """Take some images, even if the bucket holds too few; it refills for longer then."""
        with self._lock:
            self._left -= images

    def _check(self, images: float, taken: float) -> None:
        now_s = time.monotonic()
        self._left = min(self._burst, self._left + self._rate * (now_s - self._updated_s))
        self._updated_s = now_s
        missing = min(images, self._burst) - self._left - taken
        if missing > 0:
            wait_s = math.ceil(missing / self._rate)
            raise RateLimitedError(
                f"This key may ask for {self._rate:g} images a second, each draw counting as one; "
                f"try again in {wait_s} s.",
                retry_after_s=wait_s,
            )
