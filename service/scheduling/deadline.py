"""The deadline over a request's work, and the errors that this work may end in."""

import asyncio
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TypeVar

from defenses import DefenseError
from service.errors import (
    DeadlineError,
    InferenceError,
    InvalidParameterError,
    OutOfMemoryError,
    ServiceError,
    is_out_of_memory,
)

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Until:
    """When a request's work ends: at its deadline, or before, when nobody waits for it any more.

    A thread cannot be cancelled, so its work asks between its parts.

    Attributes:
        at_s: the deadline, as :func:`time.monotonic` counts.
    """

    def __init__(self, at_s: float) -> None:
        self.at_s = at_s
        self._lock = threading.Lock()
        self._has_ended = False
        self._on_end: list[Callable[[], None]] = []

    def check(self) -> None:
        """Return if somebody still waits for the work.

        Raises:
            DeadlineError: nobody does, so nobody sees this error.
        """
        if self._has_ended or time.monotonic() >= self.at_s:
            raise DeadlineError("Nobody waits for this any more.")

    @contextmanager
    def ending(self, stop: Callable[[], None]) -> Iterator[None]:
        """Call a function if the request ends during the block."""
        with self._lock:
            self._on_end.append(stop)
            if self._has_ended:
                stop()
        try:
            yield
        finally:
            with self._lock:
                self._on_end.remove(stop)

    def end(self) -> None:
        """End the work."""
        with self._lock:
            self._has_ended = True
            for stop in self._on_end:
                stop()


async def as_service_error(work: Awaitable[T]) -> T:
    """Await image work; turn any exception into a ServiceError that is safe to show a client.

    Raises:
        ServiceError: see :mod:`service.errors`.
    """
    try:
        return await work
    except ServiceError:
        raise
    except DefenseError as error:  # an image too small for the defence's parameters
        if is_out_of_memory(error):
            raise out_of_memory(error) from None
        raise InvalidParameterError(str(error)) from None
    except Exception as error:  # noqa: BLE001  # an image can make its libraries raise anything
        if is_out_of_memory(error):
            raise out_of_memory(error) from None
        _log.exception("Preparing an image failed")
        raise InferenceError("The image could not be defended.") from None


def out_of_memory(error: BaseException) -> OutOfMemoryError:
    """Log that there is not enough memory; return the error for the client."""
    _log.error("There is not enough memory for a request: %s", error or type(error).__name__)
    return OutOfMemoryError("The server has not enough memory for this; try again later.")


@asynccontextmanager
async def deadline(server_ms: float, client_ms: float | None) -> AsyncIterator[Until]:
    """Cancel the block when the earlier of two deadlines passes.

    Yields:
        What work in threads asks, since a thread cannot be cancelled. It ends with the block.

    Raises:
        DeadlineError: a deadline has passed.
    """
    limit_ms = min(server_ms, client_ms or math.inf)
    until = Until(time.monotonic() + limit_ms / 1e3)
    try:
        async with asyncio.timeout(limit_ms / 1e3):
            yield until
    except TimeoutError:
        raise DeadlineError(f"No answer within {limit_ms:g} ms; try again later.") from None
    finally:
        until.end()
