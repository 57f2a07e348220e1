"""The FastAPI application: what surrounds the spine, from start to stop and for each request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect

from defenses import DefenseError
from models import Classifier, ModelError
from service import __version__
from service.api.operations import router as operations
from service.api.query import check_query
from service.api.repository import router as repository
from service.api.routes import defending, local, router
from service.auth.keys import require_key
from service.backend import Backend, LocalBackend
from service.errors import (
    BadRequestError,
    InternalError,
    InvalidParameterError,
    MethodNotAllowedError,
    NotFoundError,
    ServiceError,
    SetupError,
)
from service.middleware.allowed_host import AllowedHost
from service.middleware.body_limits import BodyLimit
from service.middleware.byte_budget import ByteBudget
from service.middleware.compression import Compression
from service.middleware.disconnect import CancelOnDisconnect
from service.middleware.head_as_get import HeadAsGet
from service.middleware.pacing import Pacing
from service.middleware.request_log import RequestLog
from service.oip.routes import router as oip
from service.scheduling.deadline import out_of_memory
from service.settings import Settings
from service.signals.names import OnEvent
from service.telemetry.logs import REQUEST_ID_HEADER
from service.transformer.backend import UpstreamBackend
from service.transformer.elsewhere import router as elsewhere
from service.transformer.v1 import router as transformer_v1
from service.transformer.v2 import router as transformer_v2

_log = logging.getLogger(__name__)
_TELEMETRY: TelemetryConfig = {
    # Spans go to the provider that is set when traces are on: see service.telemetry.tracing.
    # FastAPI's own metrics are off, and so are its logs, which contain exceptions' texts.
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope.get("method") != "POST",
}
_HTTP_ERRORS = {404: NotFoundError, 405: MethodNotAllowedError, 500: InternalError}


def create_app(
    settings: Settings,
    load: Callable[[], Classifier],
    on_failure: Callable[[], None] = lambda: None,
    on_event: OnEvent = lambda _: None,
) -> FastAPI:
    """Make the application.

    Args:
        settings: all of them.
        load: returns the model; called in a thread once the server listens.
        on_failure: called if the model cannot be loaded; the error is then the backend's
            ``failure``.
        on_event: called with each event of the signals, in their thread.
    """
    backend: Backend[Any]
    routers: tuple[APIRouter, ...]
    if settings.predictor_host is None:
        backend, routers = LocalBackend(settings, load, on_event), (local, oip)
        if settings.shows_defended:
            routers += (defending,)
    else:
        backend = UpstreamBackend(settings)
        v2 = settings.predictor_protocol == "v2"
        routers = (transformer_v2 if v2 else transformer_v1, elsewhere)

    async def load_or_fail() -> None:
        try:
            await backend.load()
        except Exception as error:  # noqa: BLE001  # the server's run() raises it again
            if not isinstance(error, ModelError | ServiceError | SetupError | DefenseError):
                _log.exception("The model cannot be loaded")
            backend.failure = error
            on_failure()

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        backend.start()
        loading = asyncio.create_task(load_or_fail())
        yield
        loading.cancel()
        await asyncio.gather(loading, return_exceptions=True)
        await backend.close()

    app = _surrounded(
        backend,
        title="warpguard",
        version=__version__,
        summary="Image classification behind a randomized, non-differentiable defence.",
        lifespan=lifespan,
        redoc_url=None,
    )
    if settings.admin_port is None:
        app.include_router(operations)
        if settings.allow_load:
            routers += (repository,)
    checks = [] if backend.keys is None else [Depends(require_key)]
    checks.append(Depends(check_query))  # after the key: who has none learns nothing
    for each in (router, *routers):
        app.include_router(each, dependencies=checks)
    return app


def create_admin_app(backend: Backend[Any]) -> FastAPI:
    """Make the application of the port that only operators reach."""
    app = _surrounded(backend, openapi_url=None)
    app.include_router(operations)
    if backend.settings.allow_load:
        app.include_router(repository, dependencies=[Depends(check_query)])
    return app


def _surrounded(backend: Backend[Any], **options: Any) -> FastAPI:
    """An application without routes, with all that surrounds each request."""
    settings = backend.settings
    max_bytes = settings.max_body_bytes
    hosts = []
    if settings.allowed_host:
        hosts = [Middleware(AllowedHost, allowed=settings.allowed_host, errors=backend.errors)]
    app = FastAPI(
        middleware=[  # the outermost first, in the order in which a request meets them
            Middleware(RequestLog, metrics=backend.metrics),
            *hosts,
            Middleware(CancelOnDisconnect, errors=backend.errors),
            Middleware(BodyLimit, max_bytes=max_bytes),
            Middleware(Pacing),
            Middleware(Compression, max_bytes=max_bytes),
            Middleware(
                ByteBudget,
                max_bytes=max(settings.max_buffered_bytes, max_bytes),
                errors=backend.errors,
            ),
            Middleware(HeadAsGet),
        ],
        exception_handlers={
            ServiceError: _on_service_error,
            RequestValidationError: _on_validation_error,
            HTTPException: _on_http_exception,
            MemoryError: _on_out_of_memory,
            ClientDisconnect: _on_disconnect,
            Exception: _on_bug,
        },
        redirect_slashes=False,
        telemetry=_TELEMETRY,
        **options,
    )
    app.state.backend = backend
    return app


def _respond(request: Request, error: ServiceError) -> JSONResponse:
    backend: Backend[Any] = request.app.state.backend
    request.state.error_code = error.code
    return backend.errors.response(request.url.path, error)


async def _on_service_error(request: Request, error: Any) -> JSONResponse:
    return _respond(request, error)


async def _on_validation_error(request: Request, error: Any) -> JSONResponse:
    problems = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    return _respond(request, InvalidParameterError(problems))


async def _on_http_exception(request: Request, error: Any) -> JSONResponse:
    """Starlette's own: an unknown path, or a method that a path does not take."""
    kind = _HTTP_ERRORS.get(error.status_code, BadRequestError)
    response = _respond(request, kind(str(error.detail)))
    headers = dict(error.headers or {})
    if headers.get("Allow") == "GET":
        headers["Allow"] = "GET, HEAD"
    response.headers.update(headers)
    return response


async def _on_out_of_memory(request: Request, error: Any) -> JSONResponse:
    """Where a route itself needs memory: to join a body, to read a form, to write JSON."""
    return _respond(request, out_of_memory(error))


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """Starlette sends this outside of every middleware, and uvicorn logs the error."""
    del error
    response = _respond(request, InternalError("The server failed; its log says why."))
    response.headers[REQUEST_ID_HEADER] = request.state.request_id
    return response


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """No client reads this; the status is for the metrics, and is nginx's for the same case."""
    del request, error
    return Response(status_code=499)
