"""The tensors in an answer of the Open Inference Protocol, and what scores they hold.

A tensor is binary data behind the JSON, or numbers in the JSON, flat or nested.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from harness.endpoint.answers import ROUNDING, Count, Document, Name, class_of, document, wrong
from harness.endpoint.transport import Answer

HEADER_LENGTH = "Inference-Header-Content-Length"
FLOATS, INTEGERS = ("FP16", "FP32", "FP64"), ("INT32", "INT64")
_DTYPES = dict(zip((*FLOATS, *INTEGERS), ("<f2", "<f4", "<f8", "<i4", "<i8"), strict=True))
_SUM_TOLERANCE = 0.01
"""How far the sum of a row of probabilities may be from 1. Half precision is that inexact."""


class _Parameters(Document):
    binary_data_size: Count | None = None


class _Output(Document):
    name: Name
    datatype: str = Field(max_length=16)
    shape: list[Count] = Field(max_length=16)
    parameters: _Parameters | None = None
    data: list[Any] | None = None


class _Inference(Document):
    outputs: list[_Output]


@dataclass(frozen=True)
class Tensor:
    """An output of an answer.

    Attributes:
        name, datatype, shape: what the answer says of it.
        values: the numbers, ``(n,)`` in row-major order; None if the datatype is not known here.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: NDArray[Any] | None = field(repr=False)


def tensors(answer: Answer) -> list[Tensor]:
    """Return the outputs of an answer, of which sizes and datatypes are checked.

    Raises:
        EndpointError: the answer is not valid, or an output has another size than it says.
    """
    offset = len(answer.body)
    text = answer.headers.get(HEADER_LENGTH.lower())
    if text is not None:
        offset = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
        if not 0 <= offset <= len(answer.body):
            raise wrong(answer, f"the header {HEADER_LENGTH}: {text!r}")
    found = []
    for output in document(answer, _Inference, offset).outputs:
        size = None if output.parameters is None else output.parameters.binary_data_size
        if size is None:
            values = _of_json(answer, output)
        else:
            values = _of_bytes(answer, output, answer.body[offset : offset + size], size)
            offset += size
        found.append(Tensor(output.name, output.datatype, tuple(output.shape), values))
    return found


def tensor(answer: Answer, name: str) -> Tensor:
    """Return the output of an answer that has a name.

    Raises:
        EndpointError: the answer is not valid, or does not have this output.
    """
    found = next((each for each in tensors(answer) if each.name == name), None)
    if found is None:
        raise wrong(answer, f"it has no output {name}")
    return found


def numbers(
    answer: Answer, found: Tensor, datatypes: Sequence[str], shape: Sequence[int]
) -> NDArray[Any]:
    """Return the numbers of an output, ``(n,)``.

    Raises:
        EndpointError: the output has another datatype or shape.
    """
    if found.values is None or found.datatype not in datatypes or found.shape != tuple(shape):
        raise wrong(
            answer,
            f"{found.name} as {found.datatype} of shape {[*found.shape]}; {datatypes[-1]} of shape "
            f"{[*shape]} was expected",
        )
    return found.values


def class_index(answer: Answer, name: str, classes: int, shape: Sequence[int] = (1,)) -> int:
    """Return the class that an output of integers names for one image.

    Raises:
        EndpointError: the answer is not valid, or the class is not one of the model's.
    """
    (index,) = numbers(answer, tensor(answer, name), INTEGERS, shape)
    return class_of(answer, int(index), classes)


def scores(answer: Answer, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return an output of scores for one image, ``(classes,)`` float32.

    Raises:
        EndpointError: the answer is not valid, or a score is not finite as float32.
    """
    with np.errstate(over="ignore"):
        row = numbers(answer, tensor(answer, name), FLOATS, shape).astype(np.float32)
    if not np.isfinite(row).all():
        raise wrong(answer, f"{name} with values that are not finite")
    return row


def probabilities(answer: Answer, name: str, shape: Sequence[int]) -> NDArray[np.float32]:
    """Return an output of probabilities for one image, ``(classes,)`` float32.

    Raises:
        EndpointError: the answer is not valid, or a value is not finite or not in [0, 1].
    """
    row = scores(answer, name, shape)
    if row.min() < -ROUNDING or row.max() > 1 + ROUNDING:
        raise wrong(answer, f"{name} from {row.min():g} to {row.max():g}")
    return row


def are_probabilities(row: NDArray[np.float32]) -> bool:
    """Return whether scores are in [0, 1] with a sum of 1, apart from rounding."""
    within = row.min() >= -ROUNDING and row.max() <= 1 + ROUNDING
    return bool(within and abs(row.sum(dtype=np.float64) - 1) <= _SUM_TOLERANCE)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities that belong to logits, ``(classes,)`` float32."""
    exponentials = np.exp(logits.astype(np.float64) - float(logits.max()))
    probabilities: NDArray[np.float32] = (exponentials / exponentials.sum()).astype(np.float32)
    return probabilities


def _of_bytes(answer: Answer, output: _Output, raw: bytes, size: int) -> NDArray[Any] | None:
    if len(raw) < size:
        raise wrong(answer, f"only {len(raw)} of {size} bytes of {output.name}")
    if output.datatype not in _DTYPES:
        return None
    dtype = np.dtype(_DTYPES[output.datatype])
    _require_size(answer, output, size, dtype.itemsize, "bytes")
    return np.frombuffer(raw, dtype)


def _of_json(answer: Answer, output: _Output) -> NDArray[Any] | None:
    if output.data is None:
        raise wrong(answer, f"{output.name} has neither data nor a binary_data_size")
    if output.datatype not in _DTYPES:
        return None
    flat = _flat(output.data)
    _require_size(answer, output, len(flat), 1, "values")
    kinds = (int,) if output.datatype in INTEGERS else (int, float)
    if any(type(value) not in kinds for value in flat):
        raise wrong(answer, f"values of {output.name} that are not of {output.datatype}")
    try:
        with np.errstate(over="ignore"):
            return np.array(flat, _DTYPES[output.datatype])
    except OverflowError:
        raise wrong(answer, f"values of {output.name} that are out of range") from None


def _require_size(answer: Answer, output: _Output, size: int, each: int, unit: str) -> None:
    if size != prod(output.shape) * each:
        raise wrong(
            answer,
            f"{output.name} as {output.datatype} of shape {output.shape} in {size} {unit}",
        )


def _flat(nested: list[Any]) -> list[Any]:
    """Return the values of nested lists in their order, however the lists are nested."""
    values, open_lists = [], [iter(nested)]
    while open_lists:
        for value in open_lists[-1]:
            if isinstance(value, list):
                open_lists.append(iter(value))
                break
            values.append(value)
        else:
            open_lists.pop()
    return values
