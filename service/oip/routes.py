"""The routes of the Open Inference Protocol."""

import asyncio
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Request, Response

from defenses import Image, Pipeline
from models import Manifest
from service import __version__
from service.backend import State
from service.errors import UnknownModelNameError, told_of
from service.oip import outputs
from service.oip.codec import HEADER_LENGTH, Inference, decode, encode
from service.oip.tensors import Limits
from service.predictor import Outcome, Predictor

VERSION = "1"
"""The only version of the model: one that is loaded anew takes the place of the one before."""

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
async def ready(request: Request) -> dict[str, bool]:
    """503 until it is, and once the server is about to stop."""
    await _state(request).check_ready()
    return {"live": True, "ready": True}


@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
@router.get("/v2/models/{model}", summary="The model's inputs and outputs")
async def metadata(request: Request, model: str) -> dict[str, Any]:
    """The one input is named as an encoded image; pixels are taken as well, under any name."""
    state = _state(request)
    manifest = _named(request, model, state.predictor)
    return {
        "name": manifest.name,
        "versions": [VERSION],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": list(outputs.describe(manifest, state.settings).values()),
    }


@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False)
@router.get("/v2/models/{model}/ready", summary="Whether the model is loaded and warm")
async def model_ready(request: Request, model: str) -> dict[str, Any]:
    """503 until it is, and once the server is about to stop."""
    state = _state(request)
    manifest = _named(request, model, state.predictor)
    await state.check_ready()
    return {"name": manifest.name, "ready": True}


@router.post("/v2/repository/index", summary="The models of this server")
async def index(request: Request) -> list[dict[str, str]]:
    """The one that is served."""
    name = _state(request).predictor.classifier.manifest.name
    return [{"name": name, "version": VERSION, "state": "READY", "reason": ""}]


@router.post(
    "/v2/models/{model}/versions/{version}/infer", include_in_schema=False, response_class=Response
)
@router.post(
    "/v2/models/{model}/infer",
    summary="Classify images behind the defence",
    response_class=Response,
    openapi_extra=_BODY,
)
async def infer(request: Request, model: str) -> Response:
    """The body is JSON, or JSON and binary tensors, or one image file."""
    state = _state(request)
    manifest = _named(request, model, state.predictor)
    body = await request.body()
    limits = Limits(state.settings.max_images, state.settings.max_pixels)
    inference = await asyncio.get_running_loop().run_in_executor(
        state.reader,
        lambda: decode(
            body,
            request.headers.get(HEADER_LENGTH),
            outputs=outputs.describe(manifest, state.settings),
            limits=limits,
        ),
    )
    outputs.check(inference.wanted)
    pipeline = state.pipeline(inference.defense)
    with state.admit(len(inference.images.sources) * inference.draws) as predictor:
        manifest = _named(request, model, predictor)  # it may have been loaded anew
        outcomes = await _predict(predictor, pipeline, inference)
    answer = {
        "model_name": manifest.name,
        "model_version": VERSION,
        **({} if inference.id is None else {"id": inference.id}),
        "parameters": {"defense": str(pipeline), "draws": inference.draws},
    }
    tensors = outputs.tensors(inference, outcomes, manifest.label_names)
    content, header_length = await asyncio.to_thread(encode, answer, list(tensors))
    if header_length is None:
        return Response(content, media_type="application/json")
    headers = {HEADER_LENGTH: str(header_length)}
    return Response(content, media_type="application/octet-stream", headers=headers)


async def _predict(
    predictor: Predictor, pipeline: Pipeline, inference: Inference
) -> Sequence[Outcome]:
    """Predict all images of a request side by side; the first error ends the others."""
    sources = inference.images.sources

    async def predict(number: int, source: bytes | Image) -> Outcome:
        with told_of(number, len(sources)):
            return await predictor.predict(
                source, pipeline, draws=inference.draws, timeout_ms=inference.timeout_ms
            )

    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(predict(*each)) for each in enumerate(sources, 1)]
    except ExceptionGroup as errors:
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _named(request: Request, model: str, predictor: Predictor) -> Manifest:
    """The manifest of the model that serves, if that is the one of the path."""
    manifest = predictor.classifier.manifest
    version = request.path_params.get("version", VERSION)
    if (model, version) != (manifest.name, VERSION):
        raise UnknownModelNameError(
            f"There is no model {model[:80]!a} of version {version[:20]!a} here; "
            f"{manifest.name!r} is served, version {VERSION!r}."
        )
    return manifest


def _state(request: Request) -> State:
    state: State = request.app.state.warpguard
    return state
