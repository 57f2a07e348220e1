"""TensorFlow Serving's protocol, which KServe calls v1: JSON both ways.

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
from service.dependencies import Sender
from service.errors import (
    BadRequestError,
    InvalidParameterError,
    TooManyImagesError,
    numbered_errors,
)
from service.oip.codec import check_further, parse
from service.oip.numbers import Numbers
from service.oip.schema import Datatype, Input
from service.oip.tensors import RequestLimits, read
from service.transformer.backend import Forwarding
from service.transformer.headers import passed_back, passed_on
from service.transformer.input_spec import InputSpec
from service.transformer.transformer import Body

_DIMENSIONS = 3

router = APIRouter(tags=["v1, to the classifier behind"])

_INSTANCE = (
    'an instance is {"b64": "…"} or {"image_bytes": {"b64": "…"}} with an image file, or pixels: '
    "lists nested as [H, W, 3] or [3, H, W], of integers in [0, 255] or numbers in [0, 1]"
)


@router.get("/v1/models/{model}", summary="Whether the classifier behind is ready")
async def ready(backend: Forwarding, model: str) -> Response:
    """The classifier's own answer, unless this server is not ready."""
    await backend.check_ready()
    return passed_back(await backend.upstream.get(f"/v1/models/{model}"))


@router.post(
    "/v1/models/{model}:predict", summary="Defend, and let classify", response_class=Response
)
async def predict(request: Request, backend: Forwarding, client: Sender, model: str) -> Response:
    """The request is passed on with its images defended; the answer is the classifier's own."""
    body = await request.body()
    limits = RequestLimits(backend.settings.max_images, backend.settings.max_pixels)
    further, sources = await backend.read_json(lambda: _read(body, limits), client)
    async with backend.admit(len(sources), client) as transformer:
        reply = await transformer.forward(
            sources,
            backend.pipeline(None),
            lambda rows: _write(further, rows),
            client,
            path=f"/v1/models/{model}:predict",
            headers=passed_on(request),
            input_spec=_as_sent(transformer.input_spec, sources),
        )
    return passed_back(reply)


def _as_sent(spec: InputSpec, sources: Sequence[bytes | Image]) -> InputSpec:
    """Integers stay integers if nothing is known of the upstream's input."""
    integers = [not isinstance(source, bytes) and source.dtype == np.uint8 for source in sources]
    return replace(spec, datatype="UINT8") if spec.name is None and all(integers) else spec


def _read(body: bytes, limits: RequestLimits) -> tuple[dict[str, Any], list[bytes | Image]]:
    """The fields of a request that go with its images, and the images."""
    document = parse(body, separate=b"instances")
    sources = _sources(document, limits)
    further = {name: value for name, value in document.items() if name != "instances"}
    check_further(further)
    return further, sources


def _write(further: dict[str, Any], rows: list[NDArray[Any]]) -> Body:
    # Row by row: converting all of a large tensor at once would hold up every other thread.
    instances = b",".join(to_json(row.tolist()) for row in rows)
    body = b"%b%b]}" % (to_json({**further, "instances": []})[:-2], instances)
    return body, {"content-type": "application/json"}


def _sources(document: Any, limits: RequestLimits) -> list[bytes | Image]:
    instances = document.get("instances") if isinstance(document, dict) else None
    if not isinstance(instances, list) or not instances:
        raise InvalidParameterError(f'Send {{"instances": […]}}, where {_INSTANCE}.')
    if len(instances) > limits.images:
        raise TooManyImagesError(
            f"The request has {len(instances)} images; send at most {limits.images}."
        )
    sources = []
    for number, instance in enumerate(instances, 1):
        with numbered_errors(number, len(instances)):
            sources.append(_source(instance, limits))
    return sources


def _source(instance: Any, limits: RequestLimits) -> bytes | Image:
    if isinstance(instance, list | Numbers):
        return _pixels(instance, limits)
    file = instance.get("image_bytes", instance) if isinstance(instance, dict) else None
    text = file.get("b64") if isinstance(file, dict) else None
    if not isinstance(text, str):
        raise InvalidParameterError(f"This is not an image: {_INSTANCE}.")
    try:
        return b64decode(text, validate=True)
    except ValueError:
        raise BadRequestError("The value of b64 is not valid base64.") from None


def _pixels(rows: list[Any] | Numbers, limits: RequestLimits) -> bytes | Image:
    try:
        shape, has_floats = _of_numbers(rows) if isinstance(rows, Numbers) else _of_list(rows)
        if 0 in shape:
            raise LookupError
    except (TypeError, LookupError):
        raise InvalidParameterError(f"This is not an image: {_INSTANCE}.") from None
    datatype: Datatype = "FP32" if has_floats else "UINT8"
    tensor = Input(name="instance", shape=shape, datatype=datatype, data=rows)
    return read(tensor, None, limits).sources[0]


def _of_list(rows: list[Any]) -> tuple[list[int], bool]:
    """The shape of an image by its first values, and whether it has floats."""
    values = chain.from_iterable(chain.from_iterable(rows))
    return [len(rows), len(rows[0]), len(rows[0][0])], float in map(type, values)


def _of_numbers(rows: Numbers) -> tuple[list[int], bool]:
    if rows.shallowest < _DIMENSIONS or len(rows.levels) < _DIMENSIONS:
        raise TypeError
    return [level.first or 0 for level in rows.levels[:_DIMENSIONS]], rows.has_floats
