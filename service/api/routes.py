"""The routes of this project's own HTTP API."""

import asyncio
from dataclasses import asdict
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from defenses import Pipeline
from service.api.answers import redact
from service.api.schemas import (
    DefenseEntry,
    DefensesAnswer,
    FileAnswer,
    ModelEntry,
    ModelsAnswer,
    OperationEntry,
    PredictAnswer,
    PredictFilesAnswer,
    Prediction,
    PredictTopAnswer,
    TopClass,
)
from service.api.uploads import FORM_FIELD, Upload, is_form, read_form
from service.dependencies import AnyBackend, Local, Sender
from service.error_response import ErrorAnswer
from service.errors import InvalidParameterError, ServiceError
from service.images.decode import FORMATS
from service.settings import MAX_DRAWS

router = APIRouter()
"""The routes of every server."""
local = APIRouter()
"""The routes of a server that runs its model itself."""
defending = APIRouter()
"""The route that shows defended images; an operator can switch it off."""

_IMAGE = {"schema": {"type": "string", "format": "binary"}}
_ONE_IMAGE: dict[str, Any] = {f"image/{kind.lower()}": _IMAGE for kind in FORMATS}
_FORM = {
    "multipart/form-data": {
        "schema": {
            "type": "object",
            "required": [FORM_FIELD],
            "properties": {FORM_FIELD: {"type": "array", "items": _IMAGE["schema"]}},
        }
    }
}


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    meanings = {
        400: "The request or the image cannot be read.",
        401: "The server needs an API key.",
        408: "The request did not arrive in time.",
        413: "Too many bytes, pixels or images.",
        415: "Not an image of a supported format.",
        421: "The Host is not one that the server allows.",
        422: "A parameter is missing or out of range, or the image is too small.",
        429: "More images than the server takes now, or the key allows; see Retry-After.",
        431: "The request's head is too large.",
        501: "A Transfer-Encoding other than chunked.",
        503: "The model is not loaded, or could not be run, or there are too many connections.",
        504: "No answer within the deadline.",
    }
    return {code: {"model": ErrorAnswer, "description": meanings[code]} for code in statuses}


Defense = Annotated[
    str | None,
    Query(
        description="One of those that GET /v1/defenses lists; by default the server's own.",
        examples=["fd+rdg"],
        max_length=200,
    ),
]


@local.post(
    "/v1/predict",
    summary="Classify an image, or a form of images, behind the defence",
    response_model=PredictAnswer | PredictTopAnswer | PredictFilesAnswer,
    responses=_errors(400, 401, 408, 413, 415, 421, 422, 429, 431, 501, 503, 504),
    openapi_extra={"requestBody": {"required": True, "content": _ONE_IMAGE | _FORM}},
)
async def predict(
    request: Request,
    backend: Local,
    client: Sender,
    defense: Defense = None,
    draws: Annotated[
        int | None,
        Query(
            ge=1,
            le=MAX_DRAWS,
            description="Independent draws, their probabilities averaged; by default the server's.",
        ),
    ] = None,
    top_k: Annotated[int, Query(ge=1, le=1000, description="How many classes to name.")] = 5,
    timeout_ms: Annotated[
        float | None, Query(ge=1, description="A deadline shorter than the server's own.")
    ] = None,
) -> Response:
    """The body is an image file, or a form with files in the field ``files``.

    A form is answered file by file: an error of one file leaves the others alone.
    """
    pipeline = backend.pipeline(defense)
    draws = draws or backend.settings.draws
    form = is_form(request)
    if form:
        uploads = await read_form(request, backend.settings.max_images)
    else:
        uploads = [Upload("", await request.body())]

    async with backend.admit(len(uploads), client, draws=draws) as predictor:
        manifest = predictor.classifier.manifest

        async def answer(upload: Upload) -> Prediction | TopClass:
            classification = await predictor.predict(
                upload.body, pipeline, client, draws=draws, timeout_ms=timeout_ms
            )
            detail = backend.settings.response_detail
            return redact(classification, manifest.label_names, top_k=top_k, detail=detail)

        async def answer_file(upload: Upload) -> FileAnswer:
            try:
                return FileAnswer(file=upload.name, prediction=await answer(upload))
            except ServiceError as error:
                return FileAnswer(file=upload.name, error=backend.errors.detail(error))

        context = {
            "model": manifest.name,
            "precision": manifest.precision,
            "defense": str(pipeline),
            "draws": draws,
            "request_id": request.state.request_id,
        }
        if not form:
            only = await answer(uploads[0])
            kind = PredictAnswer if isinstance(only, Prediction) else PredictTopAnswer
            return _json(kind(**context, **dict(only)))
        results = await asyncio.gather(*map(answer_file, uploads))
        return _json(PredictFilesAnswer(**context, results=results))


def _json(answer: BaseModel) -> Response:
    """The answer without another validation, which FastAPI would do."""
    return Response(answer.model_dump_json(), media_type="application/json")


@defending.post(
    "/v1/defend",
    summary="Defend an image, for another classifier",
    response_class=Response,
    responses={
        200: {"content": {"image/png": _IMAGE}, "description": "The defended image."},
        **_errors(400, 401, 408, 413, 415, 421, 422, 429, 431, 501, 503, 504),
    },
    openapi_extra={"requestBody": {"required": True, "content": _ONE_IMAGE | _FORM}},
)
async def defend(
    request: Request, backend: Local, client: Sender, defense: Defense = None
) -> Response:
    """The body is an image file, or a form with one; the answer is a PNG of the same size."""
    pipeline = backend.pipeline(defense)
    if is_form(request):
        uploads = await read_form(request, backend.settings.max_images)
        if len(uploads) != 1:
            raise InvalidParameterError(f"Send one file, not {len(uploads)}.")
        body = uploads[0].body
    else:
        body = await request.body()
    async with backend.admit(1, client) as predictor:
        png = await predictor.defend(body, pipeline, client)
    return Response(png, media_type="image/png", headers={"x-warpguard-defense": str(pipeline)})


@local.get("/v1/models", summary="The served model", responses=_errors(422, 503))
async def models(backend: Local) -> ModelsAnswer:
    """Which model is served, in which precision, and on which execution provider."""
    classifier = backend.engine.classifier
    manifest = classifier.manifest
    entry = ModelEntry(
        provider=classifier.provider,
        precision=manifest.precision,
        precision_reason=classifier.precision_reason,
        input=manifest.input.model_dump(),
        classes=len(manifest.label_names),
        **manifest.model_dump(include={"name", "source", "licence", "reported_top1", "sha256"}),
    )
    return ModelsAnswer(models=[entry])


@router.get("/v1/defenses", summary="The defences that a request may name", responses=_errors(422))
async def defenses(backend: AnyBackend) -> DefensesAnswer:
    """The default, and the others that the operator allows."""
    settings = backend.settings
    entries = [_describe(name, pipeline) for name, pipeline in settings.pipelines.items()]
    return DefensesAnswer(default=settings.defense, defenses=entries)


def _describe(name: str, pipeline: Pipeline) -> DefenseEntry:
    operations = [
        OperationEntry(
            name=operation.name,
            summary=operation.summary,
            reference=operation.reference,
            parameters=asdict(operation),
        )
        for operation in pipeline.operations
    ]
    return DefenseEntry(name=name, random=pipeline.random, operations=operations)
