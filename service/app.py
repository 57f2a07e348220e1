"""The FastAPI application: what surrounds the spine, from start to stop and for each request."""

import asyncio
import logging
import re
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from models import Classifier, ModelError
from service import __version__
from service.disconnect import CancelOnDisconnect
from service.errors import ServiceError
from service.metrics import Metrics
from service.repository import router as repository
from service.routes import router
from service.schemas import ErrorAnswer, ErrorDetail
from service.settings import Settings
from service.state import State
from service.upload import BodyLimit

REQUEST_ID_HEADER = "x-request-id"

_log = logging.getLogger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_CODES = {400: "bad_request", 404: "not_found", 405: "method_not_allowed"}


def create_app(
    settings: Settings,
    load: Callable[[], Classifier],
    on_failure: Callable[[], None] = lambda: None,
) -> FastAPI:
    """Make the application.

    Args:
        settings: all of them.
        load: gives the model; called in a thread once the server listens.
        on_failure: called when the model cannot be loaded; the error is then in ``app.state``.
    """
    state = State(settings, load)

    async def load_or_fail() -> None:
        try:
            await state.load()
        except Exception as error:  # noqa: BLE001  # serve() raises it again
            if not isinstance(error, ModelError):
                _log.exception("The model cannot be loaded")
            state.failure = error
            on_failure()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        loading = asyncio.create_task(load_or_fail())
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await state.close()

    app = FastAPI(
        title="warpguard",
        version=__version__,
        summary="Image classification behind a randomized, non-differentiable defence.",
        lifespan=lifespan,
        redoc_url=None,
    )
    app.state.warpguard = state
    app.include_router(router)
    if settings.allow_load:
        app.include_router(repository)
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(_Observe, metrics=state.metrics)
    app.add_middleware(CancelOnDisconnect)
    return app


class _Observe:
    """ASGI middleware: a request id on every answer, and a count of it."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"]).get(REQUEST_ID_HEADER.encode(), b"").decode("latin-1")
        request_id = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        scope.setdefault("state", {})["request_id"] = request_id

        async def observed(message: Message) -> None:
            if message["type"] == "http.response.start":
                header = (REQUEST_ID_HEADER.encode(), request_id.encode())
                message["headers"] = [*message.get("headers", ()), header]
                route = getattr(scope.get("route"), "path", "unmatched")
                self._metrics.requests.labels(route, str(message["status"])).inc()
            await send(message)

        await self._app(scope, receive, observed)


def _error(request: Request, status: int, code: str, message: str) -> JSONResponse:
    request.app.state.warpguard.metrics.refusals.labels(code).inc()
    body = ErrorAnswer(error=ErrorDetail(code=code, message=message))
    headers = {"retry-after": "1"} if status in (429, 503) else None
    return JSONResponse(body.model_dump(), status, headers)


async def _on_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101  # as registered
    return _error(request, error.status, error.code, error.message)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # as registered
    problems = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    return _error(request, 422, "invalid_parameter", problems)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # as registered
    code = _CODES.get(error.status_code, "error")
    return _error(request, error.status_code, code, str(error.detail))


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody reads this; the status is for the metrics, and is nginx's for the same thing."""
    del request, error
    return Response(status_code=499)
