"""Everything a client can be told, hung on the path of its data.

    connection  OverloadedError 503, RequestTimeoutError 408, HeadTooLargeError 431
      │         UnauthorizedError 401, RateLimitedError 429
    bytes ──── BodyTooLargeError 413, TooManyImagesError 413, BadRequestError 400
      │ decode
      │        UnsupportedMediaError 415, BadImageError 400, TooManyPixelsError 413,
      │        ImageTooSmallError 422
    image
      │ defend, preprocess
      │        UnknownDefenseError 422, InvalidParameterError 422
    tensor
      │ batch, infer
      │        BusyError 429, NotReadyError 503, InferenceError 503, DeadlineError 504
    answer

Beside that path: UnknownModelNameError 404, UpstreamError 503 where the classifier is elsewhere,
and LoadError 503 where a model is loaded anew.

Every one of them answers as ``{"error": {"code": …, "message": …}}``. Messages say what is wrong
and what is allowed; none holds a stack trace or a path of this machine.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar


class SetupError(Exception):
    """What the operator has set up cannot be used. Told at the start, and never to a client."""


class ServiceError(Exception):
    """The root: an answer other than the one that was asked for.

    Attributes:
        status: the HTTP status.
        code: a word for programs.
        message: a sentence for people.
        retry_after_s: when to come again, where that helps.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str, *, retry_after_s: int = 1) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s


class BadRequestError(ServiceError):
    """The request cannot be read as HTTP says it should be."""

    status = 400
    code = "bad_request"


class UnauthorizedError(ServiceError):
    """No API key, where one is needed, or one that this server does not know."""

    status = 401
    code = "unauthorized"


class RateLimitedError(ServiceError):
    """More images in a time than this client's key allows; come again later."""

    status = 429
    code = "rate_limited"


class RequestTimeoutError(ServiceError):
    """The request did not arrive in the time that the operator allows."""

    status = 408
    code = "request_timeout"


class HeadTooLargeError(ServiceError):
    """A request line and headers of more bytes than this server takes."""

    status = 431
    code = "head_too_large"


class OverloadedError(ServiceError):
    """More connections are open than this server holds; come again later."""

    status = 503
    code = "overloaded"


class BadImageError(ServiceError):
    """The body begins like an image and then is none: cut short or corrupted."""

    status = 400
    code = "bad_image"


class BodyTooLargeError(ServiceError):
    """More bytes than this server takes."""

    status = 413
    code = "body_too_large"


class TooManyImagesError(ServiceError):
    """More images, or draws, in one request than this server takes."""

    status = 413
    code = "too_many_images"


class TooManyPixelsError(ServiceError):
    """An image whose header declares more pixels than this server decodes."""

    status = 413
    code = "too_many_pixels"


class UnsupportedMediaError(ServiceError):
    """Not an image of a known format."""

    status = 415
    code = "unsupported_media"


class ImageTooSmallError(ServiceError):
    """An image with a side shorter than one block of the defence."""

    status = 422
    code = "image_too_small"


class UnknownDefenseError(ServiceError):
    """A defence that the operator does not allow."""

    status = 422
    code = "unknown_defense"


class InvalidParameterError(ServiceError):
    """A query parameter or a form field that is missing or out of range."""

    status = 422
    code = "invalid_parameter"


class BusyError(ServiceError):
    """As many images are in flight as this server takes; come again later."""

    status = 429
    code = "busy"


class NotReadyError(ServiceError):
    """The model is still being loaded, or the server is about to stop."""

    status = 503
    code = "not_ready"


class InferenceError(ServiceError):
    """The model could not be run. The log says why."""

    status = 503
    code = "inference_failed"


class UnknownModelNameError(ServiceError):
    """A model that is not the one served here."""

    status = 404
    code = "unknown_model"


class LoadError(ServiceError):
    """The model could not be loaded anew; the one before still serves. The log says why."""

    status = 503
    code = "load_failed"


class UpstreamError(ServiceError):
    """The classifier behind this server cannot be reached, or breaks off."""

    status = 503
    code = "upstream_failed"


class DeadlineError(ServiceError):
    """No answer within the time that the operator allows."""

    status = 504
    code = "deadline_exceeded"


@contextmanager
def told_of(number: int, count: int) -> Iterator[None]:
    """Say of which of several images an error is, counted from 1."""
    try:
        yield
    except ServiceError as error:
        if count > 1:
            error.message = f"Image {number} of {count}: {error.message}"
        raise
