"""The door: how many images are at work at once."""

from collections.abc import Iterator
from contextlib import contextmanager

from service.auth import keys
from service.errors import BusyError, TooManyImagesError


class Admission:
    """Counts the images at work, each draw counting as one, and refuses those over a limit."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.in_flight = 0

    @contextmanager
    def admit(self, images: int) -> Iterator[None]:
        """Hold places for some images while they are at work.

        Raises:
            TooManyImagesError: more than are ever taken at once.
            BusyError: more than can be taken now.
            RateLimitedError: more than the request's key may ask for now.
        """
        if images > self._most:
            raise TooManyImagesError(
                f"These are {images} images, each draw counting as one; send {self._most} at most."
            )
        if self.in_flight + images > self._most:
            raise BusyError(f"{self.in_flight} of {self._most} images are at work; try again.")
        key = keys.current.get()
        if key is not None and key.bucket is not None:
            key.bucket.take(images)
        self.in_flight += images
        try:
            yield
        finally:
            self.in_flight -= images
