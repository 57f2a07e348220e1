"""What an error looks like, wherever it is answered from."""

from starlette.responses import JSONResponse

from service.api.schemas import ErrorAnswer, ErrorDetail

_PLAIN = ("/v2", "/v1/models/")
"""The paths of the Open Inference Protocol and of TensorFlow's: an error is a sentence there."""
_COME_AGAIN = (429, 503)
_UNAUTHORIZED = 401


def refusal(
    path: str, status: int, code: str, message: str, *, retry_after_s: int = 1
) -> JSONResponse:
    """The answer that tells an error, in the shape of the API that the path belongs to.

    Args:
        path: the request's.
        status: the HTTP status.
        code: a word for programs.
        message: a sentence for people.
        retry_after_s: when to come again, where the status says that coming again helps.
    """
    headers = {"retry-after": str(retry_after_s)} if status in _COME_AGAIN else {}
    if status == _UNAUTHORIZED:
        headers["www-authenticate"] = "Bearer"
    if path.startswith(_PLAIN):
        return JSONResponse({"error": message}, status, headers)
    body = ErrorAnswer(error=ErrorDetail(code=code, message=message))
    return JSONResponse(body.model_dump(), status, headers)
