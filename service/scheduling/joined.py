"""Work that many may ask for at once, and that is done once for all of them."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Joined(Generic[T]):
    """Runs some work one at a time; all who call while it runs share the one next run.

    They do not share the run that has begun, because it may have read what has changed since.
    """

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        """Set up.

        Args:
            work: what a call does. It goes on if its callers are cancelled.
        """
        self._work = work
        self._running = asyncio.Lock()
        self._next: asyncio.Task[T] | None = None

    async def __call__(self) -> T:
        """Wait for a run that begins after this call; its exceptions are raised here."""
        if self._next is None:
            self._next = asyncio.create_task(self._run())
        return await asyncio.shield(self._next)

    async def _run(self) -> T:
        async with self._running:
            self._next = None
            return await self._work()
