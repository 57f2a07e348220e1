"""The FastAPI application: what surrounds the spine, from start to stop and for each request."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from fastapi import APIRouter, Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.telemetry import TelemetryConfig
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from defenses import DefenseError
from models import Classifier, ModelError
from service import __version__
from service.api.repository import router as repository
from service.api.routes import defending, local, operations, router
from service.api.uploads import BodyBudget, BodyLimit
from service.auth.keys import require_key
from service.backend import ServerState, State
from service.error_response import refusal
from service.errors import ServiceError
from service.middleware.compression import Compression
from service.middleware.disconnect import CancelOnDisconnect
from service.middleware.request_log import REQUEST_ID_HEADER, Observe
from service.oip.routes import router as oip
from service.settings import Settings
from service.transformer.backend import TransformerState
from service.transformer.v1 import router as transformer_v1
from service.transformer.v2 import router as transformer_v2

_log = logging.getLogger(__name__)
_TELEMETRY: TelemetryConfig = {
    # Spans go to the provider that is set when traces are on: see service.telemetry.otlp. FastAPI's own
    # metrics, and its logs with exceptions' texts, go nowhere.
    "metrics": False,
    "logs": False,
    "operation_spans": False,
    "auto_configure": False,
    "exclude": lambda scope: scope.get("method") != "POST",
}
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
    state: ServerState
    routers: tuple[APIRouter, ...]
    if settings.predictor_host is None:
        state, routers = State(settings, load), (local, oip)
        if settings.shows_defended:
            routers += (defending,)
    else:
        state = TransformerState(settings)
        routers = (transformer_v2,) if settings.predictor_protocol == "v2" else (transformer_v1,)

    async def load_or_fail() -> None:
        try:
            await state.load()
        except Exception as error:  # noqa: BLE001  # serve() raises it again
            if not isinstance(error, ModelError | ServiceError | DefenseError):
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
        telemetry=_TELEMETRY,
    )
    if settings.admin_port is None:
        app.include_router(operations)
        if settings.allow_load:
            routers += (repository,)
    needed = [] if state.keys is None else [Depends(require_key)]
    for each in (router, *routers):
        app.include_router(each, dependencies=needed)
    return _finished(app, state)


def create_admin_app(state: ServerState) -> FastAPI:
    """Make the application of the port that is for operators alone."""
    app = FastAPI(openapi_url=None, telemetry=_TELEMETRY)
    app.include_router(operations)
    if state.settings.allow_load:
        app.include_router(repository)
    return _finished(app, state)


def _finished(app: FastAPI, state: ServerState) -> FastAPI:
    """The application with what surrounds every request."""
    settings = state.settings
    app.state.warpguard = state
    app.add_exception_handler(ServiceError, _on_service_error)
    app.add_exception_handler(RequestValidationError, _on_validation_error)
    app.add_exception_handler(HTTPException, _on_http_exception)
    app.add_exception_handler(ClientDisconnect, _on_disconnect)
    app.add_exception_handler(Exception, _on_bug)
    buffered = max(settings.max_buffered_bytes, settings.max_body_bytes)
    app.add_middleware(BodyBudget, max_bytes=buffered)
    app.add_middleware(Compression, max_bytes=settings.max_body_bytes)
    app.add_middleware(BodyLimit, max_bytes=settings.max_body_bytes)
    app.add_middleware(CancelOnDisconnect)
    app.add_middleware(Observe, metrics=state.metrics)
    return app


def _error(
    request: Request, status: int, code: str, message: str, retry_after_s: int = 1
) -> JSONResponse:
    request.app.state.warpguard.metrics.refusals.labels(code).inc()
    request.state.error_code = code
    return refusal(request.url.path, status, code, message, retry_after_s=retry_after_s)


async def _on_service_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServiceError)  # noqa: S101  # as registered
    return _error(request, error.status, error.code, error.message, error.retry_after_s)


async def _on_validation_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)  # noqa: S101  # as registered
    problems = "; ".join(f"{e['loc'][-1]}: {e['msg']}" for e in error.errors())
    return _error(request, 422, "invalid_parameter", problems)


async def _on_http_exception(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)  # noqa: S101  # as registered
    code = _CODES.get(error.status_code, "error")
    answer = _error(request, error.status_code, code, str(error.detail))
    answer.headers.update(error.headers or {})  # Allow, where the method is not
    return answer


async def _on_bug(request: Request, error: Exception) -> JSONResponse:
    """Starlette sends this outside of every middleware, and uvicorn logs the error."""
    del error
    answer = _error(request, 500, "internal_error", "The server failed; its log says why.")
    answer.headers[REQUEST_ID_HEADER] = request.state.request_id
    return answer


async def _on_disconnect(request: Request, error: Exception) -> Response:
    """Nobody reads this; the status is for the metrics, and is nginx's for the same thing."""
    del request, error
    return Response(status_code=499)
