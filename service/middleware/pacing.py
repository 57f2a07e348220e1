"""Large answers go out in pieces, and each piece waits until the client has fetched the one before.

uvicorn waits before it takes another piece, but takes a piece of any size: an answer in one piece
would be out of sight, and in memory, until a slow client has fetched it.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PIECE_BYTES = 256 * 1024


class Pacing:
    """ASGI middleware that sends large bodies in pieces."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer in pieces."""

        async def sent(message: Message) -> None:
            body = message.get("body", b"")
            if len(body) <= _PIECE_BYTES:
                await send(message)
                return
            view = memoryview(body)
            for first in range(0, len(view), _PIECE_BYTES):
                end = first + _PIECE_BYTES
                more = end < len(view) or message.get("more_body", False)
                piece = bytes(view[first:end])
                await send({"type": message["type"], "body": piece, "more_body": more})

        await self._app(scope, receive, sent)
