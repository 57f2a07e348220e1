"""Reading a request's images: one as the body itself, or many as files of a form."""

import sys
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import (
    BodyTooLargeError,
    BusyError,
    InvalidParameterError,
    TooManyImagesError,
)

FORM_FIELD = "files"

# Starlette would write files of more than 1 MB to the disk, and a container may have none that can
# be written. BodyBudget bounds what is held in memory.
MultiPartParser.spool_max_size = sys.maxsize


@dataclass(frozen=True)
class Upload:
    """One file of a form.

    Attributes:
        name: the name that the client gave it.
        body: its bytes.
    """

    name: str
    body: bytes


def is_form(request: Request) -> bool:
    """Whether the body is ``multipart/form-data``."""
    return request.headers.get("content-type", "").lower().startswith("multipart/form-data")


async def read_form(request: Request, max_images: int) -> list[Upload]:
    """The files of a form, in order.

    Raises:
        InvalidParameterError: there is none.
        TooManyImagesError: there are more than ``max_images``.
        starlette.exceptions.HTTPException: the form is malformed.
    """
    try:
        form = await request.form(max_files=max_images, max_fields=0)
    except HTTPException as error:
        if str(error.detail).startswith("Too many files"):
            raise TooManyImagesError(f"The form has more than {max_images} files.") from None
        raise
    try:
        files = [part for part in form.getlist(FORM_FIELD) if isinstance(part, UploadFile)]
        if not files:
            raise InvalidParameterError(f"The form has no file in a field named {FORM_FIELD!r}.")
        return [Upload(file.filename or "", await file.read()) for file in files]
    finally:
        await form.close()


class BodyBudget:
    """ASGI middleware that bounds the bytes of all the bodies that are held at once."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes
        self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, holding its body's bytes until it is answered."""
        held = 0

        async def counted() -> Message:
            nonlocal held
            message = await receive()
            size = len(message.get("body", b""))
            held += size
            self._held += size
            if self._held > self._max_bytes:
                raise BusyError("The bodies of all requests are too large together; try again.")
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            self._held -= held


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
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > self._max_bytes or self._declared(scope) > self._max_bytes:
                raise BodyTooLargeError(f"The body is larger than {self._max_bytes} bytes.")
            return message

        await self._app(scope, counted, send)

    @staticmethod
    def _declared(scope: Scope) -> int:
        for name, value in scope["headers"]:
            if name == b"content-length" and value.isdigit():
                return int(value)
        return 0
