"""Limits on the bytes of one body, and of all bodies that are held at once.

FastAPI's ``max_body_size`` is not used: it answers a declared length over the limit as plain text,
without the error handlers.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError, BusyError


class BodyLimit:
    """ASGI middleware that stops reading a body at a number of bytes."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting the bytes of its body."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        received_bytes, declared_bytes = 0, _declared_bytes(scope)

        async def counted() -> Message:
            nonlocal received_bytes
            message: Message = {}
            if declared_bytes <= self._max_bytes:  # else a client with Expect must not send it
                message = await receive()
                received_bytes += len(message.get("body", b""))
            if max(received_bytes, declared_bytes) > self._max_bytes:
                raise BodyTooLargeError(f"The body is larger than {self._max_bytes} bytes.")
            return message

        await self._app(scope, counted, send)


class BodyBudget:
    """ASGI middleware that bounds the bytes of all the bodies that are held at once."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._held_bytes = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, counting its body's bytes as held until it is answered."""
        held_bytes = 0

        async def counted() -> Message:
            nonlocal held_bytes
            message = await receive()
            size = len(message.get("body", b""))
            held_bytes += size
            self._held_bytes += size
            if self._held_bytes > self._max_bytes:
                raise BusyError("The bodies of all requests are too large together; try again.")
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held_bytes -= held_bytes


def _declared_bytes(scope: Scope) -> int:
    value = Headers(scope=scope).get("content-length", "")
    return int(value) if value.isdecimal() else 0
