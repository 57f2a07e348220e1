"""From the body of an inference request to its images, and from tensors to a body.

A body is JSON, or JSON followed by raw little-endian tensors, or a single raw tensor:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import gc
import re
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from service.errors import BadRequestError, InvalidParameterError
from service.oip import long_json
from service.oip.long_json import TOO_MUCH, has_numbers, total
from service.oip.schema import InferenceRequest, Input, Parameters, RequestedOutput
from service.oip.tensors import Images, RequestLimits, read

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header with the number of bytes of a body's JSON, if tensors follow the JSON."""

_DATATYPES = {
    np.dtype(np.bool_): "BOOL",
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float32): "FP32",
    np.dtype(object): "BYTES",
}
_WITHOUT_HEADER = (
    f"An image file alone needs the header {HEADER_LENGTH}: 0; if binary data follow the JSON, the "
    "header is the length of the JSON."
)
_BEGINNING_OF_JSON = re.compile(rb'[ \t\r\n]*[\[{"\-0-9tfn]')
_MOST_QUOTES = 1000
_BYTES_OF_A_LIST = 7
"""An image's JSON has at most one list in seven bytes, because ``[0,0,0]`` is a whole pixel."""


@dataclass(frozen=True)
class OutputSpec:
    """An output that a request asks for.

    Attributes:
        name: one of the model's outputs.
        binary: whether it is sent as raw bytes after the JSON.
        classes: how many classes to send, the highest first, instead of the values; 0 for the
            values.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Inference:
    """A request, read and checked.

    Attributes:
        id: the client's own, which the answer repeats.
        images: one or more images to classify.
        outputs: the requested outputs, in the request's order.
        draws: independent draws of the defence.
        defense: the client's name for it; None for the default one.
        timeout_ms: the client's own deadline.
    """

    id: str | None
    images: Images
    outputs: tuple[OutputSpec, ...]
    draws: int = 1
    defense: str | None = None
    timeout_ms: float | None = None


@dataclass(frozen=True)
class NamedTensor:
    """A tensor of an answer, or of a request to another server.

    Attributes:
        name: the output's or the input's name.
        rows: an array for each index of the first dimension, all of one shape and dtype: bool,
            uint8, int64, float32, or object for ``bytes``.
        binary: whether it is sent as raw bytes after the JSON.
    """

    name: str
    rows: Sequence[NDArray[Any]]
    binary: bool = False


def decode(
    body: bytes,
    header_length: str | None,
    *,
    outputs: Collection[str],
    limits: RequestLimits,
    draws: int = 1,
) -> Inference:
    """Read a request.

    Args:
        body: the whole body, decompressed.
        header_length: the value of :data:`HEADER_LENGTH`; "0" means that the whole body is the one
            element of a BYTES tensor, that is, an image file.
        outputs: the names of the model's outputs, the default one first.
        limits: how large a request may be.
        draws: of a request that names no number of draws.

    Raises:
        BadRequestError: the JSON is not valid, or sizes do not add up.
        InvalidParameterError: a field, a value or a name is not allowed.
        ImageTooSmallError, TooManyImagesError, TooManyPixelsError: over a limit.
    """
    default = next(iter(outputs))
    document, raw = split(body, header_length)
    if document is None:
        return Inference(None, Images([body]), (OutputSpec(default, binary=True),), draws)
    request = InferenceRequest.of(document)
    parameters = request.parameters or Parameters()
    binary = bool(parameters.binary_data_output)
    return Inference(
        request.id,
        images_of(request.inputs[0], raw, limits),
        _output_specs(request.outputs or [RequestedOutput(name=default)], outputs, binary),
        parameters.draws or draws,
        parameters.defense,
        parameters.timeout / 1e3 if parameters.timeout else None,
    )


def split(body: bytes, header_length: str | None) -> tuple[Any, memoryview]:
    """A body's JSON document, and the bytes after it; no document if the body is a raw tensor.

    Args:
        body: the whole body, decompressed.
        header_length: the value of :data:`HEADER_LENGTH`.

    Raises:
        BadRequestError: the JSON is not valid.
    """
    if header_length is None:
        try:
            return parse(body), memoryview(b"")
        except BadRequestError as error:
            raise BadRequestError(f"{error.message} {_WITHOUT_HEADER}") from None
    end = _length(header_length, len(body))
    return parse(body[:end]) if end else None, memoryview(body)[end:]


def images_of(tensor: Input, raw: memoryview, limits: RequestLimits) -> Images:
    """The images of an input, which are in its JSON or in the bytes after the whole JSON.

    Raises:
        BadRequestError: sizes do not add up.
        InvalidParameterError: a shape or a value is not allowed.
        ImageTooSmallError, TooManyImagesError, TooManyPixelsError: over a limit.
    """
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None and tensor.data is not None:
        raise InvalidParameterError("inputs[0] has both data and binary_data_size: send one.")
    if len(raw) != (size or 0):
        raise BadRequestError(
            f"{len(raw)} bytes follow the JSON, and binary_data_size is {size or 0}; "
            f"the header {HEADER_LENGTH} is the length of the JSON alone."
        )
    return read(tensor, None if size is None else raw, limits)


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= most):
        raise BadRequestError(
            f"The header {HEADER_LENGTH} must be the length of the body's JSON: 0 to {most}."
        )
    return int(text)


def parse(text: bytes, separate: bytes = b"") -> Any:
    """A body's JSON document; see :func:`service.oip.long_json.parse`.

    Raises:
        BadRequestError: the JSON is not valid, or would take too much memory.
    """
    if not text:
        raise BadRequestError("The body is empty: send a request as JSON.")
    if not _BEGINNING_OF_JSON.match(text):
        raise BadRequestError("The request's JSON cannot be read: the body is not JSON.")
    # Objects in memory are up to thirty times as large as their JSON, and objects of many fields
    # take seconds to make.
    lists = total(text, b"[") + total(text, b"{")
    if total(text, b'"') > _MOST_QUOTES or lists > 1000 + len(text) // _BYTES_OF_A_LIST:
        raise BadRequestError(TOO_MUCH)
    gc.disable()  # there is no garbage in it, and looking for some takes four times the parsing
    try:
        return long_json.parse(text, separate)
    except ValueError as error:
        raise BadRequestError(f"The request's JSON cannot be read: {error}.") from None
    finally:
        gc.enable()


def check_further(fields: Mapping[str, Any]) -> None:
    """Check fields that are passed on as they are.

    Raises:
        InvalidParameterError: one has a list of numbers that is as long as an image.
    """
    for name, value in fields.items():
        if has_numbers(value):
            raise InvalidParameterError(
                f"The field {ascii(name)[:40]} has a list that is as long as an image: only the "
                "data of images may be so long."
            )


def _output_specs(
    requested: Sequence[RequestedOutput], outputs: Collection[str], binary: bool
) -> tuple[OutputSpec, ...]:
    specs: dict[str, OutputSpec] = {}
    for output in requested:
        if output.name not in outputs:
            raise InvalidParameterError(
                f"Unknown output {ascii(output.name)[:40]}. Outputs: {', '.join(outputs)}."
            )
        if output.name in specs:
            raise InvalidParameterError(f"The output {output.name!r} is requested twice.")
        binary_data = output.parameters.binary_data if output.parameters else None
        specs[output.name] = OutputSpec(
            output.name,
            binary if binary_data is None else binary_data,
            (output.parameters.classification or 0) if output.parameters else 0,
        )
    return tuple(specs.values())


def encode(
    fields: Mapping[str, Any], tensors: Sequence[NamedTensor], place: str = "outputs"
) -> tuple[bytes, int | None]:
    """Write an answer, or a request.

    Args:
        fields: the other fields of its JSON.
        tensors: the outputs, or the inputs.
        place: the name of the tensors' field.

    Returns:
        The body, and for :data:`HEADER_LENGTH` the length of its JSON; None for the length if no
        tensor follows the JSON.
    """
    parts: list[bytes] = [to_json({**fields, place: []})[:-2]]  # joined once: they may be large
    binary: list[bytes | memoryview] = []
    for number, tensor in enumerate(tensors):
        first = tensor.rows[0]
        about: dict[str, Any] = {
            "name": tensor.name,
            "datatype": _DATATYPES[first.dtype],
            "shape": [len(tensor.rows), *first.shape],
        }
        parts.append(b"," if number else b"")
        if tensor.binary:
            rows = [raw_bytes(row) for row in tensor.rows]
            binary += rows
            about["parameters"] = {"binary_data_size": sum(map(len, rows))}
            parts.append(to_json(about))
        else:
            parts += [to_json(about)[:-1], b',"data":']
            for index, row in enumerate(tensor.rows):
                # Row by row: converting a large tensor at once would hold up every other thread.
                values = to_json(row.ravel().tolist(), inf_nan_mode="null")[1:-1]
                parts += [b"," if index else b"[", values]
            parts.append(b"]}")
    parts.append(b"]}")
    length = sum(map(len, parts))
    return b"".join([*parts, *binary]), length if binary else None


def raw_bytes(row: NDArray[Any]) -> bytes | memoryview:
    """An array in the binary extension's form: little-endian, or each element after its length."""
    if row.dtype == object:
        return b"".join(struct.pack("<I", len(each)) + each for each in row.flat)
    return np.ascontiguousarray(row).data.cast("B")
