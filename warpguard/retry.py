"""When to send a request again that the server could not take, and how long to wait before."""

from dataclasses import dataclass
from random import uniform

from warpguard.errors import ApiError, BusyError

LONGEST_WAIT_S = 30.0
"""A server that wants a longer pause gets no further request; the caller decides."""
_FIRST_WAIT_S = 0.25


@dataclass(frozen=True)
class Retry:
    """Exponential waits with jitter, so that many clients do not come back at the same time.

    Attributes:
        retries: how often one request is sent again; 0 for never.
    """

    retries: int = 4

    def wait_s(self, error: ApiError, done: int) -> float | None:
        """Return how long to wait before the next attempt; None if there is none.

        Only what the server could not take now (429, 503) is sent again. The wait is never shorter
        than the server's ``Retry-After``.

        Args:
            error: the server's answer.
            done: how often the request has been sent again already.
        """
        if not isinstance(error, BusyError) or done >= self.retries:
            return None
        own = min(_FIRST_WAIT_S * 2.0**done, LONGEST_WAIT_S)
        asked = error.retry_after_s or 0.0
        if asked > LONGEST_WAIT_S:
            return None
        return max(asked, own / 2) + uniform(0, own / 2)  # noqa: S311  # not a secret
