"""The answer to an error: the one place where it gets its shape, and where it is counted."""

from collections.abc import Callable

from pydantic import BaseModel, Field
from starlette.responses import JSONResponse

from service.errors import ServiceError

_PLAIN = ("/v2", "/v1/models/")
"""Paths of the Open Inference Protocol and of TensorFlow's, where an error is a plain sentence."""
_HELP_HEADER = "x-warpguard-help"
_RETRY = (429, 503)
_UNAUTHORIZED = 401


class ErrorDetail(BaseModel):
    """What is wrong."""

    code: str = Field(description="A word for programs.", examples=["too_many_pixels"])
    message: str = Field(description="A sentence for people.")
    help: str = Field(
        description="The page and the heading of the documentation that say what to do.",
        examples=["docs/troubleshooting.md#too_many_pixels"],
    )


class ErrorAnswer(BaseModel):
    """The body of every answer that reports an error."""

    error: ErrorDetail


class ErrorResponder:
    """Turns errors into answers, and counts each of them by its code."""

    def __init__(self, count: Callable[[str], None]) -> None:
        """Set up a responder.

        Args:
            count: called with the code of each error.
        """
        self._count = count

    def detail(self, error: ServiceError) -> ErrorDetail:
        """The error as a part of an answer: that of one file among several."""
        self._count(error.code)
        return ErrorDetail(code=error.code, message=error.message, help=error.help)

    def response(self, path: str, error: ServiceError) -> JSONResponse:
        """The error as the answer to a request.

        Args:
            path: the request's path, which decides the shape.
            error: what went wrong.
        """
        detail = self.detail(error)
        headers = {_HELP_HEADER: error.help}  # where an error is a plain sentence, the only place
        if error.status in _RETRY:
            headers["retry-after"] = str(error.retry_after_s)
        if error.status == _UNAUTHORIZED:
            headers["www-authenticate"] = "Bearer"
        if path.startswith(_PLAIN):
            return JSONResponse({"error": error.message}, error.status, headers)
        return JSONResponse(ErrorAnswer(error=detail).model_dump(), error.status, headers)
