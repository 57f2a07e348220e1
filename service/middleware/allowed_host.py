"""The hosts that a request may name, against pages that give their own name this server's address.

Starlette's ``TrustedHostMiddleware`` is not used: it refuses the probes that Kubernetes sends to a
pod's address, and answers as plain text.
"""

from collections.abc import Collection
from ipaddress import ip_address

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.error_response import ErrorResponder
from service.errors import WrongHostError


class AllowedHost:
    """ASGI middleware that refuses a request for a host that is not allowed.

    An IP address and ``localhost`` are always allowed. Nobody can make a browser take a page of
    theirs for a page of such a host.
    """

    def __init__(self, app: ASGIApp, allowed: Collection[str], errors: ErrorResponder) -> None:
        """Wrap an application.

        Args:
            app: gets the requests for an allowed host.
            allowed: names in lower case; ``*.example.org`` stands for all names that end so.
            errors: makes the answer to the other requests.
        """
        self._app = app
        self._names = frozenset(name for name in allowed if not name.startswith("*"))
        self._ends = tuple(name[1:] for name in allowed if name.startswith("*"))
        self._errors = errors

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or refuse it."""
        if scope["type"] == "http" and not self._allows(Headers(scope=scope).get("host", "")):
            error = WrongHostError(
                "The request's Host is not one of those that --allowed-host lists."
            )
            await self._errors.response(scope["path"], error)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _allows(self, host: str) -> bool:
        name = _without_port(host).lower().removesuffix(".")
        return (
            name in ("", "localhost")  # HTTP/1.0 needs no host, and no browser speaks it
            or name in self._names
            or name.endswith(self._ends)
            or _is_address(name)
        )


def _without_port(host: str) -> str:
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
