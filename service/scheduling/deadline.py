"""The threads that decode and defend, and the deadline over all that is done for a request."""

import asyncio
import logging
import math
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

from defenses import DefenseError
from service.errors import DeadlineError, InferenceError, InvalidParameterError, ServiceError
from service.scheduling.priority import yield_to_the_event_loop

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Workers:
    """Threads for images."""

    def __init__(self, count: int) -> None:
        """Have some threads, each started when it is first needed."""
        self._threads = ThreadPoolExecutor(
            count, thread_name_prefix="defend", initializer=yield_to_the_event_loop
        )

    async def run(self, work: Callable[[], T]) -> T:
        """Have a thread do something."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    async def defend(self, work: Callable[[], T]) -> T:
        """Have a thread do something with images; see :func:`tellable`."""
        return await tellable(self.run(work))

    def stop(self) -> None:
        """Begin nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


async def tellable(work: Awaitable[T]) -> T:
    """Wait for something that is done with images; whatever it raises can be told.

    Raises:
        ServiceError: see :mod:`service.errors`.
    """
    try:
        return await work
    except ServiceError:
        raise
    except DefenseError as error:  # an image too small for the defence's parameters
        raise InvalidParameterError(str(error)) from None
    except Exception:  # noqa: BLE001  # an image can make its libraries raise anything
        _log.exception("A worker failed")
        raise InferenceError("The image could not be defended.") from None


@asynccontextmanager
async def deadline(server_ms: float, client_ms: float | None) -> AsyncIterator[None]:
    """Cancel what is done meanwhile when the sooner of two deadlines is over.

    Raises:
        DeadlineError: it is.
    """
    most_ms = min(server_ms, client_ms or math.inf)
    try:
        async with asyncio.timeout(most_ms / 1e3):
            yield
    except TimeoutError:
        raise DeadlineError(f"No answer within {most_ms:g} ms; try again later.") from None
