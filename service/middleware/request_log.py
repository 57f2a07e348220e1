"""The record of every request: its id, its count, its line in the log, its body's arrival."""

import logging
import re
import time
import uuid

from opentelemetry import trace
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.auth.client import Client
from service.telemetry import logs
from service.telemetry.metrics import Metrics

_access = logging.getLogger("service.access")
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
_CLIENT_GONE = 499
"""nginx's status for a client that left before its answer."""


class RequestLog:
    """ASGI middleware: an id on every answer; a count, a line in the log, and the stage receive.

    Labels and log lines contain words of this module and of the routes only. A client's path,
    query, method and headers never get there, except for a request id of harmless characters.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve a request and record it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        given = dict(scope["headers"]).get(logs.REQUEST_ID_HEADER.encode(), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id
        # Not reset afterwards: uvicorn's lines about this request get its id too, and every request
        # is a task with a context of its own.
        logs.request_id.set(request_id)
        trace.get_current_span().set_attribute("warpguard.request_id", request_id)
        body_ended = answered = False

        def finish(status: int) -> None:
            nonlocal answered
            if not answered:
                answered = True
                self._count(scope, status, time.perf_counter() - started)

        async def received() -> Message:
            nonlocal body_ended
            message = await receive()
            if message["type"] == "http.request" and not message.get("more_body", False):
                if not body_ended:
                    self._metrics.stage("receive", time.perf_counter() - started)
                body_ended = True
            return message

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (logs.REQUEST_ID_HEADER.encode(), request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                finish(message["status"])
            await send(message)

        try:
            await self._app(scope, received, sent)
        except Exception:
            finish(500)  # Starlette answers it outside of this middleware
            raise
        finally:
            finish(_CLIENT_GONE)

    def _count(self, scope: Scope, status: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "unmatched")
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._metrics.requests.labels(route, str(status)).inc()
        if method != "POST" or route == "unmatched":
            level = logging.DEBUG  # probes, scrapes, scanners
        else:
            level = logging.WARNING if status >= 500 else logging.INFO
        if _access.isEnabledFor(level):
            duration_ms = round(1e3 * seconds, 3)
            more = {"method": method, "route": route, "status": status, "duration_ms": duration_ms}
            more |= _asked(scope["state"].get("client"))
            if error := scope["state"].get("error_code"):
                more["error"] = error
            if key := scope["state"].get("key"):
                more["key"] = key
            _access.log(
                level,
                "%s %s %d in %.1f ms",
                method,
                route,
                status,
                duration_ms,
                extra=logs.fields(more),
            )


def _asked(client: Client | None) -> dict[str, float]:
    """What a request asked for, as far as it is known, and the mean agreement of its images."""
    if client is None or not client.images:
        return {}
    asked: dict[str, float] = {"images": client.images, "draws": client.draws}
    if client.agreements:
        asked["agreement"] = round(sum(client.agreements) / len(client.agreements), 3)
    return asked
