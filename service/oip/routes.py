"""The routes of the Open Inference Protocol."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from defenses import Image, Pipeline
from models import Manifest
from service import __version__
from service.auth.client import Client
from service.dependencies import Local, Sender
from service.errors import BodyTooLargeError, UnknownModelNameError, numbered_errors
from service.oip import outputs
from service.oip.codec import HEADER_LENGTH, Inference, decode, encode
from service.oip.tensors import RequestLimits
from service.predictor import Classification, Predictor

VERSION = "1"
"""The only version of the model: a reloaded model replaces the previous one."""

_EXTENSIONS = ["binary_tensor_data", "classification"]
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {"schema": {"type": "object"}},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }
}

_MOST_SMALL_ANSWER_BYTES = 1 << 20
_COPIES = 2
"""An answer's tensors are joined from their parts, which are as large together."""

router = APIRouter(tags=["Open Inference Protocol v2"])


@router.get("/v2", summary="The server")
async def server() -> dict[str, Any]:
    """Its name, its version, and which of Triton's extensions it has."""
    return {"name": "warpguard", "version": __version__, "extensions": _EXTENSIONS}


@router.get("/v2/health/live", summary="Whether the process answers")
async def live() -> dict[str, bool]:
    """Always true, also while the model is being loaded."""
    return {"live": True}


@router.get("/v2/health/ready", summary="Whether the model is loaded and warm")
async def ready(backend: Local) -> dict[str, bool]:
    """503 until it is, and once the server cannot serve."""
    await backend.check_ready()
    return {"live": True, "ready": True}


@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
@router.get("/v2/models/{model}", summary="The model's inputs and outputs")
async def metadata(request: Request, backend: Local, model: str) -> dict[str, Any]:
    """The one input is described as an encoded image; pixels are taken too, under any name."""
    manifest = _manifest(request, model, backend.engine)
    return {
        "name": manifest.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "parameters": {"precision": manifest.precision},
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": list(outputs.describe(manifest, backend.settings).values()),
    }


@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False)
@router.get("/v2/models/{model}/ready", summary="Whether the model is loaded and warm")
async def model_ready(request: Request, backend: Local, model: str) -> dict[str, Any]:
    """503 until it is, and once the server cannot serve."""
    manifest = _manifest(request, model, backend.engine)
    await backend.check_ready()
    return {"name": manifest.name, "ready": True}


@router.post("/v2/repository/index", summary="The models of this server")
async def index(backend: Local) -> list[dict[str, str]]:
    """The one that is served."""
    return [{"name": backend.model_name, "version": VERSION, "state": "READY", "reason": ""}]


@router.post(
    "/v2/models/{model}/versions/{version}/infer", include_in_schema=False, response_class=Response
)
@router.post(
    "/v2/models/{model}/infer",
    summary="Classify images behind the defence",
    response_class=Response,
    openapi_extra=_BODY,
)
async def infer(request: Request, backend: Local, client: Sender, model: str) -> Response:
    """The body is JSON, or JSON and binary tensors, or one image file."""
    manifest = _manifest(request, model, backend.engine)
    settings = backend.settings
    body = await request.body()
    described = outputs.describe(manifest, settings)
    inference = await backend.read_json(
        lambda: decode(
            body,
            request.headers.get(HEADER_LENGTH),
            outputs=described,
            limits=RequestLimits(settings.max_images, settings.max_pixels),
            draws=settings.draws,
        ),
        client,
    )
    outputs.check(inference.outputs)
    pipeline = backend.pipeline(inference.defense)
    size = outputs.answer_bytes(inference, described, draws=inference.draws)
    most = max(settings.max_body_bytes, _MOST_SMALL_ANSWER_BYTES)
    if size > most:
        raise BodyTooLargeError(
            f"The answer would have up to {size} bytes, and this server sends at most {most}: "
            "ask for fewer images or draws, or for binary data."
        )
    request.state.holder.reserve(_COPIES * size)
    images = len(inference.images.sources)
    async with backend.admit(images, client, draws=inference.draws) as predictor:
        manifest = _manifest(request, model, predictor)  # it may have been reloaded
        classifications = await _predict(predictor, pipeline, client, inference)
    answer = {
        "model_name": manifest.name,
        "model_version": VERSION,
        **({} if inference.id is None else {"id": inference.id}),
        "parameters": {
            "defense": str(pipeline),
            "draws": inference.draws,
            "precision": manifest.precision,
        },
    }
    tensors = outputs.tensors(inference, classifications, manifest.label_names)
    content, header_length = await asyncio.to_thread(encode, answer, list(tensors))
    if header_length is None:
        return Response(content, media_type="application/json")
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _predict(
    predictor: Predictor, pipeline: Pipeline, client: Client, inference: Inference
) -> Sequence[Classification]:
    """Predict all images of a request side by side; the first error ends the others."""
    sources = inference.images.sources
    keep_defended = any(output.name == outputs.DEFENDED for output in inference.outputs)

    async def predict(number: int, source: bytes | Image) -> Classification:
        with numbered_errors(number, len(sources)):
            return await predictor.predict(
                source,
                pipeline,
                client,
                draws=inference.draws,
                timeout_ms=inference.timeout_ms,
                keep_defended=keep_defended,
            )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(predict(*each)) for each in enumerate(sources, 1)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _manifest(request: Request, model: str, predictor: Predictor) -> Manifest:
    """The manifest of the served model, if the path names that model.

    Raises:
        UnknownModelNameError: the path names another model, or another version.
    """
    manifest = predictor.classifier.manifest
    version = request.path_params.get("version", VERSION)
    if (model, version) != (manifest.name, VERSION):
        raise UnknownModelNameError(
            f"Unknown model {model[:80]!a} of version {version[:20]!a}; "
            f"{manifest.name!r} is served, version {VERSION!r}."
        )
    return manifest
