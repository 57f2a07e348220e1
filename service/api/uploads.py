"""A request's images: one as the body itself, or several as files of a form."""

import sys
from dataclasses import dataclass

from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartParser
from starlette.requests import Request

from service.errors import InvalidParameterError, TooManyImagesError

FORM_FIELD = "files"

# Starlette would write files of more than 1 MB to the disk, and a container may have no writable
# disk. BodyBudget bounds what is held in memory.
MultiPartParser.spool_max_size = sys.maxsize


@dataclass(frozen=True)
class Upload:
    """One file of a form.

    Attributes:
        name: the client's name for it.
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
        InvalidParameterError: the form has no file.
        TooManyImagesError: the form has more than ``max_images`` files.
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
