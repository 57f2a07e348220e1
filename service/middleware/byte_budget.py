"""A budget for the bytes of all bodies, of requests and of answers, that are held at once.

When it is used up, whoever holds most is refused, and not whoever comes next: so one client cannot
fill it for the others.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Hashable

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_response import ErrorResponder
from service.errors import BusyError, ServiceError

_SMALL_ANSWER_BYTES = 64 * 1024
"""An answer of so many bytes is not counted; the connection's own buffer is as large."""

_log = logging.getLogger(__name__)


class Holder:
    """One request, and how many bytes the server holds for it.

    Attributes:
        scope: the request's.
        held_bytes: those of its body and of its answer.
        is_working: whether its body is complete and its answer is not: its bytes are in use.
        is_refused: whether it has lost its bytes to others.
    """

    def __init__(self, scope: Scope, hold: Callable[["Holder", int], None]) -> None:
        self.scope = scope
        self.held_bytes = 0
        self.is_working = False
        self.is_refused = False
        self._hold = hold
        self._reserved_bytes = 0
        self._task = asyncio.current_task()

    @property
    def client(self) -> Hashable:
        """Who sent it: the name of its API key, or the client's address."""
        key = self.scope.get("state", {}).get("key")
        return ("key", key) if key else (self.scope.get("client") or ("",))[0]

    def reserve(self, size: int) -> None:
        """Count the bytes of an answer before it is made.

        Raises:
            BusyError: the budget is used up.
        """
        self._hold(self, size)
        self._reserved_bytes += size

    def take(self, size: int) -> None:
        """Count some bytes, first on what was reserved.

        Raises:
            BusyError: the budget is used up.
        """
        self._hold(self, size - self._reserved_bytes)
        self._reserved_bytes = 0

    def refuse(self) -> None:
        """Cancel the request, and drop its bytes."""
        self.is_refused = True
        self.held_bytes = 0
        if self._task is not None:
            self._task.cancel()


class ByteBudget:
    """ASGI middleware that counts what each request holds, and bounds the sum."""

    def __init__(self, app: ASGIApp, max_bytes: int, errors: ErrorResponder) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._errors = errors
        self._holders: set[Holder] = set()
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its bytes as held until its answer is sent."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        holder = Holder(scope, self._hold)
        scope.setdefault("state", {})["holder"] = holder
        start: Message | None = None
        has_answered = is_dropped = False

        async def refuse(error: ServiceError) -> None:
            nonlocal has_answered
            has_answered = True
            scope["state"]["error_code"] = error.code
            await self._errors.response(scope["path"], error)(scope, receive, send)

        async def received() -> Message:
            message = await receive()
            self._hold(holder, len(message.get("body", b"")))
            holder.is_working = not message.get("more_body", False)
            return message

        async def sent(message: Message) -> None:
            nonlocal start, has_answered, is_dropped
            if message["type"] == "http.response.start":
                start = message  # kept until it is clear that there is room for the body
                return
            if start is not None:
                first, start = start, None
                size = len(message.get("body", b""))
                try:
                    holder.take(size if size > _SMALL_ANSWER_BYTES else 0)
                except BusyError as error:
                    is_dropped = True
                    await refuse(error)
                    return
                holder.is_working, has_answered = False, True
                await send(first)
            if not is_dropped:
                await send(message)

        self._holders.add(holder)
        try:
            await self._app(scope, received, sent)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or not holder.is_refused:
                raise
            if has_answered:
                _log.warning("An answer was dropped, because its client held most of the memory")
                raise
            task.uncancel()
            await refuse(_too_much())
        finally:
            self._held_bytes -= holder.held_bytes
            self._holders.discard(holder)

    def _hold(self, holder: Holder, size: int) -> None:
        """Count some bytes, and refuse those who hold most until they fit.

        Raises:
            BusyError: this holder is one of them; its bytes do not count any more.
        """
        holder.held_bytes += size
        self._held_bytes += size
        while size > 0 and self._held_bytes > self._max_bytes:
            largest = self._largest(holder)
            self._held_bytes -= largest.held_bytes
            if largest is holder:
                holder.held_bytes = 0
                raise _too_much()
            largest.refuse()

    def _largest(self, asking: Holder) -> Holder:
        """The largest request of the client that holds most.

        A request that is at work is spared while the client has another: what it holds is in use
        for a moment yet, and the work would be lost.
        """
        by_client: Counter[Hashable] = Counter()
        for holder in self._holders:
            by_client[holder.client] += holder.held_bytes
        client = max(by_client, key=by_client.__getitem__)
        own = [each for each in self._holders if each.client == client and each.held_bytes]
        idle = [each for each in own if each is asking or not each.is_working]
        return max(idle or own, key=lambda each: each.held_bytes)


def _too_much() -> BusyError:
    return BusyError("The bodies of all requests are too large together; try again.")
