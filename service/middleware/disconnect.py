"""A client that has gone away, or that the server leaves, gets no work done for it."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_response import refusal
from service.errors import NotReadyError


class CancelOnDisconnect:
    """ASGI middleware that cancels a request's work when its client closes the connection.

    uvicorn only tells whoever calls ``receive`` after the body; this is who calls it.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or stop serving it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body_ended = asyncio.Event()
        answered = False

        async def received() -> Message:
            if body_ended.is_set():  # there is one disconnection to wait for, and watch() does
                await asyncio.Event().wait()
            message = await receive()
            if message["type"] == "http.disconnect" or not message.get("more_body", False):
                body_ended.set()
            return message

        async def sent(message: Message) -> None:
            nonlocal answered
            answered = True
            await send(message)

        async def watch() -> None:
            await body_ended.wait()
            await receive()

        work = asyncio.ensure_future(self._app(scope, received, sent))
        watching = asyncio.ensure_future(watch())
        try:
            await asyncio.wait({work, watching}, return_when=asyncio.FIRST_COMPLETED)
            if not answered:
                work.cancel()  # nothing happens if it is done
            await asyncio.wait({work})
        except asyncio.CancelledError:  # the server ends, and waits no longer
            work.cancel()
            if not answered:
                error = NotReadyError("The server is stopping.")
                answer = refusal(scope["path"], error.status, error.code, error.message)
                await answer(scope, receive, send)
            return
        finally:
            watching.cancel()
        if not work.cancelled():
            work.result()
