"""Every error that a client can get, hung on the path of its data.

    connection  OverloadedError 503, RequestTimeoutError 408, HeadTooLargeError 431,
      │         UnsupportedTransferCodingError 501, WrongHostError 421,
      │         UnauthorizedError 401, RateLimitedError 429
    route       NotFoundError 404, MethodNotAllowedError 405
      │
    bytes ──── BodyTooLargeError 413, TooManyImagesError 413, BadRequestError 400
      │ decode
      │        UnsupportedMediaError 415, BadImageError 400, TooManyPixelsError 413,
      │        ImageTooSmallError 422, OutOfMemoryError 503
    image
      │ defend, preprocess
      │        UnknownDefenseError 422, InvalidParameterError 422
    tensor
      │ batch, infer
      │        BusyError 429, NotReadyError 503, InferenceError 503, DeadlineError 504
    answer

Beside that path: UnknownModelNameError 404; UpstreamError 503 and UpstreamAnswerError 502 if the
classifier is elsewhere; LoadError 503 if a model cannot be reloaded; InternalError 500 for a bug of
this server.

Each is answered as ``{"error": {"code": …, "message": …, "help": …}}``. A message says what is
wrong and what is allowed, and ``help`` is the heading of docs/troubleshooting.md that says what to
do. A message never contains a stack trace or a path of this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_HELP_PAGE = "docs/troubleshooting.md"


class SetupError(Exception):
    """Something that the operator set up cannot be used; reported at the start, to no client."""


class ServiceError(Exception):
    """The root of all errors that a client gets as an answer.

    Attributes:
        status: the HTTP status.
        code: a word for programs.
        message: a sentence for people.
        retry_after_s: seconds after which to try again, for a status where that helps.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s

    @property
    def help(self) -> str:
        """Where the documentation says what to do: a page of this repository, and its heading."""
        return f"{_HELP_PAGE}#{self.code}"


class BadRequestError(ServiceError):
    """The request is not valid HTTP, or its body is not what its headers say."""

    status = 400
    code = "bad_request"


class NotFoundError(ServiceError):
    """This server has no such path."""

    status = 404
    code = "not_found"


class MethodNotAllowedError(ServiceError):
    """The path does not take this method; the header Allow lists those that it takes."""

    status = 405
    code = "method_not_allowed"


class UnauthorizedError(ServiceError):
    """The server needs an API key, and the request has none or an unknown one."""

    status = 401
    code = "unauthorized"


class RateLimitedError(ServiceError):
    """The client's key allows fewer images in this time; try again later."""

    status = 429
    code = "rate_limited"


class RequestTimeoutError(ServiceError):
    """The request did not arrive within the operator's time limit."""

    status = 408
    code = "request_timeout"


class HeadTooLargeError(ServiceError):
    """The request line and headers have more bytes than this server takes."""

    status = 431
    code = "head_too_large"


class UnsupportedTransferCodingError(ServiceError):
    """The body's Transfer-Encoding is not chunked, so that its end is not known."""

    status = 501
    code = "unsupported_transfer_coding"


class WrongHostError(ServiceError):
    """The request names a host that the operator does not allow."""

    status = 421
    code = "wrong_host"


class OverloadedError(ServiceError):
    """More connections are open than this server serves; try again later."""

    status = 503
    code = "overloaded"


class BadImageError(ServiceError):
    """The body begins like an image file, but is cut short or corrupted."""

    status = 400
    code = "bad_image"


class BodyTooLargeError(ServiceError):
    """The body has more bytes than this server takes."""

    status = 413
    code = "body_too_large"


class TooManyImagesError(ServiceError):
    """One request has more images, or draws, than this server takes."""

    status = 413
    code = "too_many_images"


class TooManyPixelsError(ServiceError):
    """The image's header declares more pixels than this server decodes."""

    status = 413
    code = "too_many_pixels"


class UnsupportedMediaError(ServiceError):
    """The body is not an image file of a supported format, or is of a variant that is not read."""

    status = 415
    code = "unsupported_media"


class ImageTooSmallError(ServiceError):
    """The image has a side shorter than one block of the defence."""

    status = 422
    code = "image_too_small"


class OutOfMemoryError(ServiceError):
    """The server has not enough memory for the request. The log says so too."""

    status = 503
    code = "out_of_memory"


class UnknownDefenseError(ServiceError):
    """The operator does not allow this defence."""

    status = 422
    code = "unknown_defense"


class InvalidParameterError(ServiceError):
    """A query parameter or a form field is missing or out of range."""

    status = 422
    code = "invalid_parameter"


class BusyError(ServiceError):
    """As many images are in flight as this server takes, or others had less than their share."""

    status = 429
    code = "busy"


class NotReadyError(ServiceError):
    """The server cannot serve now: it is starting, stopping, or has failed."""

    status = 503
    code = "not_ready"


class InferenceError(ServiceError):
    """The model could not be run. The log says why."""

    status = 503
    code = "inference_failed"


class UnknownModelNameError(ServiceError):
    """The request names a model that this server does not serve."""

    status = 404
    code = "unknown_model"


class LoadError(ServiceError):
    """The model could not be reloaded; the previous one still serves. The log says why."""

    status = 503
    code = "load_failed"


class UpstreamError(ServiceError):
    """The classifier behind this server cannot be reached, or broke off."""

    status = 503
    code = "upstream_failed"


class UpstreamAnswerError(UpstreamError):
    """The classifier behind this server gave an answer that cannot be passed back."""

    status = 502
    code = "bad_upstream_answer"


class DeadlineError(ServiceError):
    """There was no answer within the operator's time limit."""

    status = 504
    code = "deadline_exceeded"


class InternalError(ServiceError):
    """This server has a bug. The log has the details."""

    status = 500
    code = "internal_error"


_NO_MEMORY_TEXTS = ("Failed to allocate memory", "bad_alloc", "bad allocation")
_OPENCV_NO_MEMORY = -4


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an exception, or one that it was raised from, is the lack of memory.

    Only Python and NumPy raise a MemoryError. OpenCV's error has a code, and ONNX Runtime's a text.
    """
    while error is not None:
        if isinstance(error, MemoryError):
            return True
        if type(error).__module__ == "cv2" and getattr(error, "code", 0) == _OPENCV_NO_MEMORY:
            return True
        if type(error).__module__.startswith("onnxruntime"):
            return any(text in str(error) for text in _NO_MEMORY_TEXTS)
        error = error.__cause__
    return False


@contextmanager
def numbered_errors(number: int, count: int) -> Iterator[None]:
    """Add to an error's message which of several images it is about, counted from 1."""
    try:
        yield
    except ServiceError as error:
        if count > 1:
            error.message = f"Image {number} of {count}: {error.message}"
        raise
