"""The Open Inference Protocol, with the classifier elsewhere: images in, its own answer out."""

import re
from typing import Any

from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray

from service import __version__
from service.errors import InvalidParameterError, UnknownModelNameError
from service.oip.codec import HEADER_LENGTH, Tensor, encode, images_of, split
from service.oip.schema import InferenceRequest, Input, Parameters, RequestedOutput
from service.oip.tensors import Images, Limits
from service.transformer.backend import TransformerState, served
from service.transformer.headers import passed_back, passed_on
from service.transformer.input_spec import Frame
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
async def ready(request: Request) -> dict[str, bool]:
    """Asked of it."""
    state: TransformerState = request.app.state.warpguard
    await state.check_ready()
    return {"live": True, "ready": True}


@router.get("/v2/models/{model}/versions/{version}", include_in_schema=False)
@router.get("/v2/models/{model}", summary="The metadata of the classifier behind")
async def metadata(request: Request, model: str) -> Response:
    """Its own answer; images are taken here in any form, whatever its input is."""
    state = served(request, model)
    return passed_back(await state.upstream.get(_path(request, model)))


@router.get("/v2/models/{model}/versions/{version}/ready", include_in_schema=False)
@router.get("/v2/models/{model}/ready", summary="Whether the classifier behind is ready")
async def model_ready(request: Request, model: str) -> Response:
    """Its own answer, unless this server is not ready."""
    state = served(request, model)
    await state.check_ready()
    return passed_back(await state.upstream.get(f"{_path(request, model)}/ready"))


@router.post(
    "/v2/models/{model}/versions/{version}/infer", include_in_schema=False, response_class=Response
)
@router.post(
    "/v2/models/{model}/infer", summary="Defend, and let classify", response_class=Response
)
async def infer(request: Request, model: str) -> Response:
    """The request is passed on with its images defended; the answer is the classifier's own."""
    state = served(request, model)
    path = f"{_path(request, model)}/infer"
    document, raw = split(await request.body(), request.headers.get(HEADER_LENGTH))
    limits = Limits(state.settings.max_images, state.settings.max_pixels)
    further: dict[str, Any] = {}
    if document is None:  # the whole body is one image file
        asked, images = _RAW, Images([bytes(raw)])
    else:
        asked, further = _read(document)
        images = images_of(asked.inputs[0], raw, limits)
    parameters = asked.parameters or Parameters()
    if parameters.draws not in (None, 1):
        raise InvalidParameterError("The classifier behind is asked once: draws can only be 1.")
    pipeline = state.pipeline(parameters.defense)
    frame = state.frame
    with state.admission.admit(len(images.sources)):
        reply = await state.transformer.forward(
            images.sources,
            pipeline,
            frame,
            lambda rows: _write(asked, further, frame, rows),
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
    """The model's path on the upstream: the one it was asked for here."""
    version = request.path_params.get("version")
    if version is None:
        return f"/v2/models/{model}"
    if not _VERSION.fullmatch(version):
        raise UnknownModelNameError(f"There is no version {version[:20]!a}.")
    return f"/v2/models/{model}/versions/{version}"


def _read(document: Any) -> tuple[InferenceRequest, dict[str, Any]]:
    """The request, and those of its parameters that are not known here but may be upstream."""
    given = document.get("parameters") if isinstance(document, dict) else None
    if not isinstance(given, dict):
        return InferenceRequest.of(document), {}
    known = {name: value for name, value in given.items() if name in Parameters.model_fields}
    further = {name: value for name, value in given.items() if name not in known}
    return InferenceRequest.of({**document, "parameters": known}), further


def _write(
    asked: InferenceRequest, further: dict[str, Any], frame: Frame, rows: list[NDArray[Any]]
) -> Body:
    """The request to the upstream: the client's, but for what this server has done with it."""
    document: dict[str, Any] = {} if asked.id is None else {"id": asked.id}
    parameters = dict(further)
    if frame.binary and asked.parameters and asked.parameters.binary_data_output is not None:
        parameters["binary_data_output"] = asked.parameters.binary_data_output
    if parameters:
        document["parameters"] = parameters
    if asked.outputs is not None:
        document["outputs"] = [_output(output, frame) for output in asked.outputs]
    tensor = Tensor(frame.name or asked.inputs[0].name, rows, frame.binary)
    body, header_length = encode(document, [tensor], "inputs")
    if header_length is None:
        return body, {"content-type": "application/json"}
    return body, {"content-type": "application/octet-stream", HEADER_LENGTH: str(header_length)}


def _output(output: RequestedOutput, frame: Frame) -> dict[str, Any]:
    hidden = None if frame.binary else {"parameters": {"binary_data"}}
    return output.model_dump(exclude_none=True, exclude=hidden)
