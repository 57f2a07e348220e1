"""The limit on the bytes of one body.

FastAPI's ``max_body_size`` is not used: it answers a declared length over the limit as plain text,
without the error handlers.
"""

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import BodyTooLargeError


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


def _declared_bytes(scope: Scope) -> int:
    value = Headers(scope=scope).get("content-length", "")
    return int(value) if value.isdecimal() else 0
