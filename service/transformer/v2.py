"""The Open Inference Protocol for a classifier elsewhere: images in, its own answer out."""

import re
from typing import Any

from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from service import __version__
from service.dependencies import AnyBackend, Sender
from service.errors import InvalidParameterError, UnknownModelNameError
from service.oip.codec import HEADER_LENGTH, NamedTensor, check_further, encode, images_of, split
from service.oip.schema import InferenceRequest, Input, Parameters, RequestedOutput
from service.oip.tensors import Images, RequestLimits
from service.transformer.backend import Forwarding
from service.transformer.headers import passed_back, passed_on
from service.transformer.input_spec import InputSpec
from service.transformer.transformer import Body

router = APIRouter(tags=["Open Inference Protocol v2, to the classifier behind"])

_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@router.get("/v2", summary="The server's name and extensions")
async def server() -> dict[str, Any]:
    """What this server can do."""
    return {"name": "warpguard", "version": __version__, "extensions": ["binary_tensor_data"]}


@router.get("/v2/health/live", summary="Whether the process answers")
async def live() -> dict[str, bool]:
    """Always true, also while the classifier behind is away."""
    return {"live": True}


@router.get("/v2/health/ready", summary="Whether the classifier behind is ready")
async def ready(backend: AnyBackend) -> dict[str, bool]:
    """503 unless both this server and the classifier are ready."""
    await backend.check_ready()
    return {"live": True, "ready": True}


@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
@router.get("/v2/models/{model}", summary="The metadata of the classifier behind")
async def metadata(request: Request, backend: Forwarding, model: str) -> Response:
    """The classifier's own answer; this server takes images in any form, whatever its input is."""
    return passed_back(await backend.upstream.get(_path(request, model)))


@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False)
@router.get("/v2/models/{model}/ready", summary="Whether the classifier behind is ready")
async def model_ready(request: Request, backend: Forwarding, model: str) -> Response:
    """The classifier's own answer, unless this server is not ready."""
    await backend.check_ready()
    return passed_back(await backend.upstream.get(f"{_path(request, model)}/ready"))


@router.post(
    "/v2/models/{model}/versions/{version}/infer", include_in_schema=False, response_class=Response
)
@router.post(
    "/v2/models/{model}/infer", summary="Defend, and let classify", response_class=Response
)
async def infer(request: Request, backend: Forwarding, client: Sender, model: str) -> Response:
    """The request is passed on with its images defended; the answer is the classifier's own."""
    path = f"{_path(request, model)}/infer"
    body, header_length = await request.body(), request.headers.get(HEADER_LENGTH)
    limits = RequestLimits(backend.settings.max_images, backend.settings.max_pixels)
    asked, further, images = await backend.read_json(
        lambda: _read(body, header_length, limits), client
    )
    parameters = asked.parameters or Parameters()
    if parameters.draws not in (None, 1):
        raise InvalidParameterError("The classifier behind is asked once: draws can only be 1.")
    pipeline = backend.pipeline(parameters.defense)
    async with backend.admit(len(images.sources), client) as transformer:
        reply = await transformer.forward(
            images.sources,
            pipeline,
            lambda rows: _write(asked, further, transformer.input_spec, rows),
            client,
            path=path,
            headers=passed_on(request),
            timeout_ms=parameters.timeout / 1e3 if parameters.timeout else None,
        )
    return passed_back(reply)


_RAW = InferenceRequest(
    parameters=Parameters(binary_data_output=True),
    inputs=[Input(name="image", shape=[1], datatype="BYTES")],
)


def _path(request: Request, model: str) -> str:
    """The model's path on the upstream, which is its path here."""
    version = request.path_params.get("version")
    if version is None:
        return f"/v2/models/{model}"
    if not _VERSION.fullmatch(version):
        raise UnknownModelNameError(f"Unknown version {version[:20]!a}.")
    return f"/v2/models/{model}/versions/{version}"


def _read(
    body: bytes, header_length: str | None, limits: RequestLimits
) -> tuple[InferenceRequest, dict[str, Any], Images]:
    """The request, its parameters that only the upstream may know, and its images."""
    document, raw = split(body, header_length)
    if document is None:  # the whole body is one image file
        return _RAW, {}, Images([bytes(raw)])
    given = document.get("parameters") if isinstance(document, dict) else None
    further: dict[str, Any] = {}
    if isinstance(given, dict):
        known = {name: value for name, value in given.items() if name in Parameters.model_fields}
        further = {name: value for name, value in given.items() if name not in known}
        check_further(further)
        document = {**document, "parameters": known}
    request = InferenceRequest.of(document)
    return request, further, images_of(request.inputs[0], raw, limits)


def _write(
    asked: InferenceRequest, further: dict[str, Any], spec: InputSpec, rows: list[NDArray[Any]]
) -> Body:
    """The upstream's request: the client's, without what this server has done already."""
    document: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
    parameters = dict(further)
    if spec.binary and asked.parameters and asked.parameters.binary_data_output is not None:
        parameters["binary_data_output"] = asked.parameters.binary_data_output
    if parameters:
        document["parameters"] = parameters
    if asked.outputs is not None:
        document["outputs"] = [_output(output, spec) for output in asked.outputs]
    tensor = NamedTensor(spec.name or asked.inputs[0].name, rows, spec.binary)
    body, header_length = encode(document, [tensor], "inputs")
    if header_length is None:
        return body, {"content-type": "application/json"}
    return body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(header_length)}


def _output(output: RequestedOutput, spec: InputSpec) -> dict[str, Any]:
    hidden = None if spec.binary else {"parameters": {"binary_data"}}
    return output.model_dump(exclude_none=True, exclude=hidden)
