"""Cancels the work for a client that has left, or that the server is about to leave."""

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.error_response import ErrorResponder
from service.errors import NotReadyError


class CancelOnDisconnect:
    """ASGI middleware that cancels a request's work when its client closes the connection.

    uvicorn reports that to whoever calls ``receive`` after the body, which this middleware does.
    """

    def __init__(self, app: ASGIApp, errors: ErrorResponder) -> None:
        self._app = app
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve the request, or stop serving it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        body_ended = asyncio.Event()
        answered = False

        async def received() -> Message:
            if body_ended.is_set():  # the one disconnection is what watch() waits for
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
                work.cancel()  # without effect if it is done
            await asyncio.wait({work})
        except asyncio.CancelledError:  # the server ends and waits no longer
            work.cancel()
            if not answered:
                error = NotReadyError("The server is stopping.")
                await self._errors.response(scope["path"], error)(scope, receive, send)
            return
        finally:
            watching.cancel()
        if not work.cancelled():
            work.result()
