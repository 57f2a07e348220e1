"""Everything a client can be told, hung on the path of its data.

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

Beside that path: UnknownModelNameError 404, and LoadError 503 where a model is loaded anew.

Every one of them answers as ``{"error": {"code": …, "message": …}}``. Messages say what is wrong
and what is allowed; none holds a stack trace or a path of this machine.
"""

from typing import ClassVar


class ServiceError(Exception):
    """The root: an answer other than the one that was asked for.

    Attributes:
        status: the HTTP status.
        code: a word for programs.
        message: a sentence for people.
    """

    status: ClassVar[int]
    code: ClassVar[str]

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class BadRequestError(ServiceError):
    """The request cannot be read as HTTP says it should be."""

    status = 400
    code = "bad_request"


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


class DeadlineError(ServiceError):
    """No answer within the time that the operator allows."""

    status = 504
    code = "deadline_exceeded"
