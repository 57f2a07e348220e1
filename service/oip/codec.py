"""From the body of an inference request to its images and back from tensors to a body.

A body is JSON, or JSON followed by raw little-endian tensors, or one raw tensor alone:
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import gc
import struct
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic_core import from_json, to_json

from service.errors import BadRequestError, InvalidParameterError
from service.oip.schema import InferenceRequest, Input, Parameters, RequestedOutput
from service.oip.tensors import Images, Limits, read

HEADER_LENGTH = "Inference-Header-Content-Length"
"""The HTTP header with the number of bytes of a body's JSON, where tensors follow it."""

_DATATYPES = {
    np.dtype(np.uint8): "UINT8",
    np.dtype(np.int64): "INT64",
    np.dtype(np.float32): "FP32",
    np.dtype(object): "BYTES",
}
_MOST_QUOTES = 1000
_BYTES_OF_A_LIST = 7
"""No image has more lists in its JSON than one in seven bytes: ``[0,0,0]`` is a whole pixel."""


@dataclass(frozen=True)
class Wanted:
    """An output that the answer shall have.

    Attributes:
        name: one of the model's outputs.
        binary: whether as raw bytes, after the JSON.
        classes: as this many classes, the highest first, instead of the values; 0 for the values.
    """

    name: str
    binary: bool = False
    classes: int = 0


@dataclass(frozen=True)
class Inference:
    """A request, read and checked.

    Attributes:
        id: the client's, to be echoed.
        images: what is to be classified, one or more.
        wanted: the outputs, in the order they were asked for.
        draws: independent draws of the defence.
        defense: as the client named it; None is the default one.
        timeout_ms: the client's own deadline.
    """

    id: str | None
    images: Images
    wanted: tuple[Wanted, ...]
    draws: int = 1
    defense: str | None = None
    timeout_ms: float | None = None


@dataclass(frozen=True)
class Tensor:
    """An output of the answer.

    Attributes:
        name: the output's.
        rows: an array for each index of the first dimension, all of one shape and dtype: uint8,
            int64, float32, or object for ``bytes``.
        binary: whether as raw bytes, after the JSON.
    """

    name: str
    rows: Sequence[NDArray[Any]]
    binary: bool = False


def decode(
    body: bytes, header_length: str | None, *, outputs: Collection[str], limits: Limits
) -> Inference:
    """Read a request.

    Args:
        body: all of it, inflated.
        header_length: the value of :data:`HEADER_LENGTH`; "0" says that the whole body is the one
            element of a BYTES tensor, that is, an image file.
        outputs: the model's, the one that is meant without being named first.
        limits: what is refused.

    Raises:
        BadRequestError: no JSON, or sizes that do not add up.
        InvalidParameterError: a field, a value or a name that is not allowed.
        ImageTooSmallError, TooManyImagesError, TooManyPixelsError: over a limit.
    """
    default = next(iter(outputs))
    document, raw = split(body, header_length)
    if document is None:
        return Inference(None, Images([body]), (Wanted(default, binary=True),))
    request = InferenceRequest.of(document)
    parameters = request.parameters or Parameters()
    binary = bool(parameters.binary_data_output)
    return Inference(
        request.id,
        images_of(request.inputs[0], raw, limits),
        _wanted(request.outputs or [RequestedOutput(name=default)], outputs, binary),
        parameters.draws or 1,
        parameters.defense,
        parameters.timeout / 1e3 if parameters.timeout else None,
    )


def split(body: bytes, header_length: str | None) -> tuple[Any, memoryview]:
    """A body's JSON document, and the bytes after it; no document if the body is one raw tensor.

    Args:
        body: all of it, inflated.
        header_length: the value of :data:`HEADER_LENGTH`.

    Raises:
        BadRequestError: no JSON.
    """
    end = len(body) if header_length is None else _length(header_length, len(body))
    document = None if end == 0 and header_length is not None else _parse(body[:end])
    return document, memoryview(body)[end:]


def images_of(tensor: Input, raw: memoryview, limits: Limits) -> Images:
    """The images of an input, which are in its JSON or in the bytes after all of the JSON.

    Raises:
        BadRequestError: sizes that do not add up.
        InvalidParameterError: a shape or a value that is not allowed.
        ImageTooSmallError, TooManyImagesError, TooManyPixelsError: over a limit.
    """
    size = tensor.parameters.binary_data_size if tensor.parameters else None
    if size is not None and tensor.data is not None:
        raise InvalidParameterError("inputs[0] has both data and binary_data_size: send one.")
    if len(raw) != (size or 0):
        raise BadRequestError(
            f"{len(raw)} bytes follow the JSON, and binary_data_size says {size or 0}; "
            f"the header {HEADER_LENGTH} tells the JSON's own length."
        )
    return read(tensor, None if size is None else raw, limits)


def _length(text: str, most: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 19 and int(text) <= most):
        raise BadRequestError(
            f"The header {HEADER_LENGTH} should be the length of the body's JSON: 0 to {most}."
        )
    return int(text)


def _parse(text: bytes) -> Any:
    if not text:
        raise BadRequestError("The body is empty: send an inference request as JSON.")
    # Objects in memory are up to thirty times as large as their JSON, and objects of many fields
    # take seconds to make.
    lists = text.count(b"[") + text.count(b"{")
    if text.count(b'"') > _MOST_QUOTES or lists > 1000 + len(text) // _BYTES_OF_A_LIST:
        raise BadRequestError("The request's JSON has more strings or lists than any image needs.")
    gc.disable()  # nothing of this can be collected, and looking takes four times the parsing
    try:
        return from_json(text)
    except ValueError as error:
        raise BadRequestError(f"The request's JSON cannot be read: {error}.") from None
    finally:
        gc.enable()


def _wanted(
    requested: Sequence[RequestedOutput], outputs: Collection[str], binary: bool
) -> tuple[Wanted, ...]:
    wanted: dict[str, Wanted] = {}
    for output in requested:
        if output.name not in outputs:
            raise InvalidParameterError(
                f"There is no output {ascii(output.name)[:40]}; there are {', '.join(outputs)}."
            )
        if output.name in wanted:
            raise InvalidParameterError(f"The output {output.name!r} is asked for twice.")
        binary_data = output.parameters.binary_data if output.parameters else None
        wanted[output.name] = Wanted(
            output.name,
            binary if binary_data is None else binary_data,
            (output.parameters.classification or 0) if output.parameters else 0,
        )
    return tuple(wanted.values())


def encode(
    fields: Mapping[str, Any], tensors: Sequence[Tensor], place: str = "outputs"
) -> tuple[bytes, int | None]:
    """Write an answer, or a request.

    Args:
        fields: those of its JSON beside the tensors.
        tensors: the outputs, or the inputs.
        place: the name of the tensors' own field.

    Returns:
        The body, and the length of its JSON where tensors follow it, for :data:`HEADER_LENGTH`.
    """
    told: list[bytes] = []
    binary: list[bytes | memoryview] = []
    for tensor in tensors:
        first = tensor.rows[0]
        about: dict[str, Any] = {
            "name": tensor.name,
            "datatype": _DATATYPES[first.dtype],
            "shape": [len(tensor.rows), *first.shape],
        }
        if tensor.binary:
            rows = [raw_bytes(row) for row in tensor.rows]
            binary += rows
            about["parameters"] = {"binary_data_size": sum(map(len, rows))}
            told.append(to_json(about))
        else:
            # Row by row: converting all of a large tensor at once would hold up every other thread.
            rows = [to_json(row.ravel().tolist(), inf_nan_mode="null")[1:-1] for row in tensor.rows]
            told.append(b'%b,"data":[%b]}' % (to_json(about)[:-1], b",".join(rows)))
    json = b"%b%b]}" % (to_json({**fields, place: []})[:-2], b",".join(told))
    return b"".join([json, *binary]), len(json) if binary else None


def raw_bytes(row: NDArray[Any]) -> bytes | memoryview:
    """An array as the binary extension has it: little-endian, or each element after its length."""
    if row.dtype == object:
        return b"".join(struct.pack("<I", len(each)) + each for each in row.flat)
    return np.ascontiguousarray(row).data.cast("B")
