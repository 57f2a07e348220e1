"""The routes for operators and their machines: health and metrics."""

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from service.api.schemas import HealthAnswer
from service.dependencies import AnyBackend
from service.error_response import ErrorAnswer

router = APIRouter()


@router.get("/healthz", summary="Whether the process answers")
async def healthz() -> HealthAnswer:
    """Always ok, also while the model is being loaded."""
    return HealthAnswer(status="ok")


@router.get(
    "/readyz",
    summary="Whether the model is loaded and warm",
    responses={503: {"model": ErrorAnswer, "description": "The server cannot serve now."}},
)
async def readyz(backend: AnyBackend) -> HealthAnswer:
    """503 until the model has run every batch size once, and once the server cannot serve."""
    await backend.check_ready()
    return HealthAnswer(status="ready")


@router.get(
    "/metrics",
    summary="Metrics for Prometheus",
    response_class=Response,
    responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def metrics(backend: AnyBackend) -> Response:
    """In the text format of Prometheus."""
    return Response(generate_latest(backend.metrics.registry), media_type=CONTENT_TYPE_LATEST)
