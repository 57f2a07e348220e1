"""What a client raises.

::

    ClientError
    ├── UnreachableError        no connection, or no answer in time
    ├── AnswerError             the answer is not one of warpguard's
    └── ApiError                the server refused: status, code and message
        ├── UnauthorizedError   401: it needs an API key
        └── BusyError           429, 503: it has not enough room now, and retrying did not help
"""

from http import HTTPStatus


class ClientError(Exception):
    """The root of all errors of a client."""


class UnreachableError(ClientError):
    """The server cannot be reached, or did not answer in time."""


class AnswerError(ClientError):
    """The answer cannot be read: it is not JSON, or lacks a field that warpguard always sends."""


class ApiError(ClientError):
    """The server answered with an error.

    Attributes:
        status: the HTTP status.
        code: the word for programs, as in ``docs/http.md``; empty if something between this program
            and warpguard answered, such as a gateway.
        message: the sentence for people.
        retry_after_s: seconds after which the server wants to be asked again; None if it does not
            say.
        help: the heading of warpguard's documentation that says what to do; empty if the server
            names none.
    """

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        retry_after_s: float | None = None,
        help: str = "",  # noqa: A002  # the name of the field in the answer
    ) -> None:
        super().__init__(f"{status} {code}: {message}" if code else f"{status}: {message}")
        self.status, self.code, self.message = status, code, message
        self.retry_after_s, self.help = retry_after_s, help


class UnauthorizedError(ApiError):
    """The server needs an API key, and the request has none or an unknown one."""


class BusyError(ApiError):
    """The server cannot take the request now, and the request may be sent again later."""


_KINDS: dict[int, type[ApiError]] = {
    HTTPStatus.UNAUTHORIZED: UnauthorizedError,
    HTTPStatus.TOO_MANY_REQUESTS: BusyError,
    HTTPStatus.SERVICE_UNAVAILABLE: BusyError,
}


def api_error(
    status: int, code: str, message: str, retry_after_s: float | None = None, help_: str = ""
) -> ApiError:
    """Return the error of the kind that a status has."""
    return _KINDS.get(status, ApiError)(status, code, message, retry_after_s, help_)
