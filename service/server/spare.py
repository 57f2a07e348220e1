"""The few connections beyond the limit, on which probes are answered."""

from collections import Counter

from starlette.types import ASGIApp, Receive, Scope, Send

from service.error_response import ErrorResponder
from service.errors import OverloadedError

PROBES = frozenset(("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics"))
"""The paths that are answered beyond the limit of connections too, on a few spare ones."""
SPARE_S = 2.0
"""The longest time for the one request of a spare connection to arrive."""

_MOST = 64
_MOST_OF_AN_ADDRESS = 32
"""So that a client who opens connection after connection leaves some for other addresses."""


class SpareConnections:
    """Which addresses hold spare connections."""

    def __init__(self) -> None:
        self._held: Counter[str] = Counter()

    def take(self, address: str) -> bool:
        """Take one for a client, unless too many are taken; return whether it was taken."""
        if self._held.total() >= _MOST or self._held[address] >= _MOST_OF_AN_ADDRESS:
            return False
        self._held[address] += 1
        return True

    def give_back(self, address: str) -> None:
        """Give back one that was taken."""
        self._held[address] -= 1
        if not self._held[address]:
            del self._held[address]


def only_probes(app: ASGIApp, connections: int | None, errors: ErrorResponder) -> ASGIApp:
    """The application on a spare connection: other requests than probes are refused."""

    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] in PROBES:
            await app(scope, receive, send)
            return
        error = OverloadedError(f"There are more than {connections} connections.")
        await errors.response(scope["path"], error)(scope, receive, send)

    return refuse
