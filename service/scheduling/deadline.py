"""The deadline over a request's work, and the errors that this work may end in."""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import TypeVar

from defenses import DefenseError
from service.errors import DeadlineError, InferenceError, InvalidParameterError, ServiceError

T = TypeVar("T")

_log = logging.getLogger(__name__)


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
        raise InvalidParameterError(str(error)) from None
    except Exception:  # noqa: BLE001  # an image can make its libraries raise anything
        _log.exception("Preparing an image failed")
        raise InferenceError("The image could not be defended.") from None


@asynccontextmanager
async def deadline(server_ms: float, client_ms: float | None) -> AsyncIterator[float]:
    """Cancel the block when the earlier of two deadlines passes, and give it that time.

    The time is as :func:`time.monotonic` counts, for work in threads, which cannot be cancelled.

    Raises:
        DeadlineError: a deadline has passed.
    """
    limit_ms = min(server_ms, client_ms or math.inf)
    try:
        async with asyncio.timeout(limit_ms / 1e3):
            yield time.monotonic() + limit_ms / 1e3
    except TimeoutError:
        raise DeadlineError(f"No answer within {limit_ms:g} ms; try again later.") from None
