"""Admission: how many images are at work at once, and whose they are."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from service.auth.client import Client
from service.errors import BusyError, TooManyImagesError


@dataclass(eq=False)
class _Request:
    """A request at work; ``scope`` cancels it."""

    images: int
    scope: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))


@dataclass(eq=False)
class _Places:
    """What one client holds; its requests are in their order of arrival."""

    images: int = 0
    requests: dict[_Request, None] = field(default_factory=dict)


class Admission:
    """Counts the images at work, each draw counting as one, and refuses those over a limit.

    When all places are taken, a client that holds less than its share gets some of a client that
    holds more than its share: the newest requests of that client are refused. The oldest request of
    a client is left alone, because it is probably being worked on.
    """

    def __init__(self, max_in_flight: int) -> None:
        self._max_in_flight = max_in_flight
        self._places: dict[str, _Places] = {}  # of each client that holds some
        self.in_flight = 0

    @asynccontextmanager
    async def admit(self, images: int, client: Client) -> AsyncIterator[None]:
        """Hold places for some images while they are at work.

        Args:
            images: how many, each draw counting as one.
            client: who asks for them; charged for them.

        Raises:
            TooManyImagesError: more images than are ever admitted at once.
            BusyError: more images than can be admitted now; or their places were given to another
                client before they were answered.
            RateLimitedError: more images than the key may ask for now.
        """
        if images > self._max_in_flight:
            raise TooManyImagesError(
                f"The request has {images} images, each draw counting as one; send at most "
                f"{self._max_in_flight}."
            )
        refused = self._in_the_way(images, client.name)
        client.charge(images)
        for name, other in refused:
            self._release(name, other)
            other.scope.reschedule(asyncio.get_running_loop().time())
        request = _Request(images)
        self._hold(client.name, request)
        try:
            async with request.scope:
                yield
        except TimeoutError:
            if not request.scope.expired():
                raise
            raise BusyError(
                f"Other clients need some of the {self._max_in_flight} places for images, and this "
                "client holds more than its share; try again."
            ) from None
        finally:
            self._release(client.name, request)

    def _in_the_way(self, images: int, client: str) -> list[tuple[str, _Request]]:
        """The requests to refuse, and whose they are, so that a client's images have places.

        Raises:
            BusyError: there are not enough places, even so.
        """
        missing = self.in_flight + images - self._max_in_flight
        found: list[tuple[str, _Request]] = []
        if missing <= 0:
            return found
        share = self._max_in_flight // len(self._places.keys() | {client})
        own = self._places.get(client, _Places())
        if own.images + images <= share:
            for name, places in sorted(self._places.items(), key=lambda each: -each[1].images):
                surplus = places.images - share
                for request in list(places.requests)[:0:-1]:  # the newest first, not the oldest
                    if missing <= 0 or surplus <= 0:
                        break
                    found.append((name, request))
                    surplus -= request.images
                    missing -= request.images
        if missing > 0:
            raise BusyError(
                f"{self.in_flight} of {self._max_in_flight} images are at work; try again."
            )
        return found

    def _hold(self, client: str, request: _Request) -> None:
        places = self._places.setdefault(client, _Places())
        places.requests[request] = None
        places.images += request.images
        self.in_flight += request.images

    def _release(self, client: str, request: _Request) -> None:
        """Free a request's places; without effect if that was done before."""
        places = self._places.get(client)
        if places is None or request not in places.requests:
            return
        del places.requests[request]
        places.images -= request.images
        self.in_flight -= request.images
        if not places.requests:
            del self._places[client]
