"""TensorFlow Serving's protocol, as KServe has it as v1: JSON both ways.

https://kserve.github.io/website/docs/concepts/architecture/data-plane/v1-protocol
"""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response
from numpy.typing import NDArray
from pydantic_core import to_json

from defenses import Image
from service.errors import BadRequestError, InvalidParameterError, TooManyImagesError, told_of
from service.oip.codec import split
from service.oip.schema import Datatype, Input
from service.oip.tensors import Limits, read
from service.transformer.backend import served
from service.transformer.headers import passed_back, passed_on
from service.transformer.input_spec import Frame
from service.transformer.transformer import Body

router = APIRouter(tags=["v1, to the classifier behind"])

_INSTANCE = (
    'an instance is {"b64": "…"} or {"image_bytes": {"b64": "…"}} with an image file, or pixels: '
    "lists nested as [H, W, 3] or [3, H, W], of integers in [0, 255] or numbers in [0, 1]"
)


@router.get("/v1/models/{model}", summary="Whether the classifier behind is ready")
async def ready(request: Request, model: str) -> Response:
    """Its own answer, unless this server is not ready."""
    state = served(request, model)
    await state.check_ready()
    return passed_back(await state.upstream.get(f"/v1/models/{model}"))


@router.post(
    "/v1/models/{model}:predict", summary="Defend, and let classify", response_class=Response
)
async def predict(request: Request, model: str) -> Response:
    """The request is passed on with its images defended; the answer is the classifier's own."""
    state = served(request, model)
    document, _ = split(await request.body(), None)
    sources = _sources(document, Limits(state.settings.max_images, state.settings.max_pixels))
    frame = _as_sent(state.frame, sources)
    with state.admission.admit(len(sources)):
        reply = await state.transformer.forward(
            sources,
            state.pipeline(None),
            frame,
            lambda rows: _write(document, rows),
            path=f"/v1/models/{model}:predict",
            headers=passed_on(request),
        )
    return passed_back(reply)


def _as_sent(frame: Frame, sources: Sequence[bytes | Image]) -> Frame:
    """Where it is not known what the upstream takes, integers stay integers."""
    integers = [not isinstance(source, bytes) and source.dtype == np.uint8 for source in sources]
    return replace(frame, datatype="UINT8") if frame.name is None and all(integers) else frame


def _write(document: dict[str, Any], rows: list[NDArray[Any]]) -> Body:
    further = {name: value for name, value in document.items() if name != "instances"}
    # Row by row: converting all of a large tensor at once would hold up every other thread.
    instances = b",".join(to_json(row.tolist()) for row in rows)
    body = b"%b%b]}" % (to_json({**further, "instances": []})[:-2], instances)
    return body, {"content-type": "application/json"}


def _sources(document: Any, limits: Limits) -> list[bytes | Image]:
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InvalidParameterError(f'Send {{"instances": […]}}, where {_INSTANCE}.')
    if len(instances) > limits.images:
        raise TooManyImagesError(
            f"These are {len(instances)} images; send {limits.images} at most."
        )
    sources = []
    for number, instance in enumerate(instances, 1):
        with told_of(number, len(instances)):
            sources.append(_source(instance, limits))
    return sources


def _source(instance: Any, limits: Limits) -> bytes | Image:
    if isinstance(instance, list):
        return _pixels(instance, limits)
    file = instance.get("image_bytes", instance) if isinstance(instance, dict) else None
    text = file.get("b64") if isinstance(file, dict) else None
    if not isinstance(text, str):
        raise InvalidParameterError(f"This is no image: {_INSTANCE}.")
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise BadRequestError("The b64 is not base64.") from None


def _pixels(rows: list[Any], limits: Limits) -> bytes | Image:
    try:
        shape = [len(rows), len(rows[0]), len(rows[0][0])]
        values = chain.from_iterable(chain.from_iterable(rows))
        datatype: Datatype = "FP32" if float in map(type, values) else "UINT8"
    except (TypeError, LookupError):
        raise InvalidParameterError(f"This is no image: {_INSTANCE}.") from None
    tensor = Input(name="instance", shape=shape, datatype=datatype, data=rows)
    return read(tensor, None, limits).sources[0]
