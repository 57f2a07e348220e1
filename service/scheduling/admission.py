"""Admission: how many images are at work at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.auth.rate_limit import Bucket
from service.errors import BusyError, TooManyImagesError


class Admission:
    """Counts the images at work, each draw counting as one, and refuses those over a limit."""

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self.in_flight = 0

    @contextmanager
    def admit(self, images: int, bucket: Bucket | None) -> Iterator[None]:
        """Hold places for some images while they are at work.

        Args:
            images: how many, each draw counting as one.
            bucket: the rate limit of the request's API key; None without a limit.

        Raises:
            TooManyImagesError: more images than are ever admitted at once.
            BusyError: more images than can be admitted now.
            RateLimitedError: more images than the key may ask for now.
        """
        if images > self._max_in_flight:
            raise TooManyImagesError(
                f"The request has {images} images, each draw counting as one; send at most "
                f"{self._max_in_flight}."
            )
        if self.in_flight + images > self._max_in_flight:
            raise BusyError(
                f"{self.in_flight} of {self._max_in_flight} images are at work; try again."
            )
        if bucket is not None:
            bucket.take(images)
        self.in_flight += images
        try:
            yield
        finally:
            self.in_flight -= images
