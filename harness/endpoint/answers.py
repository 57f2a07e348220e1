"""From the bytes of an endpoint's answers to checked values. A failed check is an EndpointError.

Documents are read by pydantic, which limits how deep their JSON may be.
"""

from collections.abc import Sequence
from math import prod
from typing import Annotated, Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.endpoint.transport import Answer
from harness.errors import EndpointError

HEADER_LENGTH = "Inference-Header-Content-Length"
_ROUNDING = 1e-6
"""How far the rounding of float32 may move a probability out of [0, 1]."""
_ITEM_BYTES = {"FP32": 4, "INT64": 8}
_Name = Annotated[str, Field(min_length=1, max_length=4096)]
_Count = Annotated[int, Field(ge=0, lt=2**31)]


class _Document(BaseModel):
    """A JSON object, of which only the named fields are read."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


DocumentT = TypeVar("DocumentT", bound=_Document)


class ModelInput(_Document):
    """The size of a model's input."""

    height_px: int = Field(ge=1, le=65_535)
    width_px: int = Field(ge=1, le=65_535)


class ServedModel(_Document):
    """A model in the answer of ``/v1/models``."""

    name: _Name
    sha256: str | None = Field(max_length=64)
    classes: int = Field(ge=1, le=10_000_000)
    input: ModelInput


class ServedModels(_Document):
    """The answer of ``/v1/models``."""

    models: list[ServedModel] = Field(min_length=1)


class ListedOperation(_Document):
    """An operation of a defence, with all of its parameters."""

    name: _Name
    parameters: dict[str, Any]


class ListedDefense(_Document):
    """A defence that the endpoint allows."""

    name: _Name
    operations: list[ListedOperation]


class ListedDefenses(_Document):
    """The answer of ``/v1/defenses``."""

    default: _Name
    defenses: list[ListedDefense]


class ModelOutput(_Document):
    """An output in the metadata of a model."""

    name: _Name


class ModelMetadata(_Document):
    """The answer of ``/v2/models/NAME``."""

    outputs: list[ModelOutput]


class _Ranked(_Document):
    index: _Count
    probability: float | None = Field(None, ge=0, le=1 + _ROUNDING)


class _Predictions(_Document):
    predictions: list[_Ranked] = Field(min_length=1)


class _BinaryData(_Document):
    binary_data_size: _Count


class _Output(_Document):
    name: _Name
    datatype: str
    shape: list[_Count]
    parameters: _BinaryData


class _Inference(_Document):
    outputs: list[_Output]


def document(answer: Answer, kind: type[DocumentT]) -> DocumentT:
    """Read a JSON document.

    Raises:
        EndpointError: the answer is not JSON, is nested too deeply, or lacks a field.
    """
    return _document(answer, answer.body, kind)


def top_class(answer: Answer, classes: int) -> int:
    """Return the most probable class of an answer of ``/v1/predict``.

    Raises:
        EndpointError: the answer is not valid, or the class is not one of the model's.
    """
    first = document(answer, _Predictions).predictions[0]
    return _class(answer, first.index, classes)


def all_probabilities(answer: Answer, classes: int) -> NDArray[np.float32] | None:
    """Return the probabilities of an answer of ``/v1/predict``: ``(classes,)`` float32.

    Returns:
        None if the answer has only the most probable class.

    Raises:
        EndpointError: the answer is not valid, or has not each class once.
    """
    ranked = document(answer, _Predictions).predictions
    if len(ranked) == 1 or ranked[0].probability is None:
        return None
    values = np.full(classes, np.nan, np.float32)
    for each in ranked:
        if each.probability is not None:
            values[_class(answer, each.index, classes)] = each.probability
    if len(ranked) != classes or np.isnan(values).any():
        raise _wrong(
            answer, f"{len(ranked)} probabilities, but the model has {classes} classes, each once"
        )
    return values


def tensor(
    answer: Answer, name: str, datatype: Literal["FP32", "INT64"], shape: Sequence[int]
) -> NDArray[Any]:
    """Return an output of a binary answer of the Open Inference Protocol.

    Raises:
        EndpointError: the answer is not valid, or has not this output in this type and shape.
    """
    text = answer.headers.get(HEADER_LENGTH.lower(), "")
    length = int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1
    if not 0 <= length <= len(answer.body):
        raise _wrong(answer, f"the header {HEADER_LENGTH}: {text!r}")
    offset = length
    for output in _document(answer, answer.body[:length], _Inference).outputs:
        size = output.parameters.binary_data_size
        if output.name == name:
            wanted = prod(shape) * _ITEM_BYTES[datatype]
            if (output.datatype, output.shape) != (datatype, [*shape]) or size != wanted:
                raise _wrong(
                    answer,
                    f"{name} as {output.datatype} of shape {output.shape} in {size} bytes; "
                    f"{datatype} of shape {[*shape]} in {wanted} bytes was expected",
                )
            if offset + size > len(answer.body):
                raise _wrong(answer, f"only {len(answer.body) - offset} of {size} bytes of {name}")
            kind = np.dtype("<f4" if datatype == "FP32" else "<i8")
            values: NDArray[Any] = np.frombuffer(answer.body, kind, prod(shape), offset)
            return values.reshape(shape)
        offset += size
    raise _wrong(answer, f"no output {name}")


def tensor_class(answer: Answer, classes: int) -> int:
    """Return the output ``index`` of a binary answer to one image.

    Raises:
        EndpointError: the answer is not valid, or the class is not one of the model's.
    """
    return _class(answer, int(tensor(answer, "index", "INT64", [1])[0]), classes)


def tensor_probabilities(answer: Answer, classes: int) -> NDArray[np.float32]:
    """Return the output ``probabilities`` of a binary answer to one image, ``(classes,)`` float32.

    Raises:
        EndpointError: the answer is not valid, or a value is not finite or not in [0, 1].
    """
    (values,) = tensor(answer, "probabilities", "FP32", [1, classes])
    if not np.isfinite(values).all():
        raise _wrong(answer, "probabilities that are not finite")
    if values.min() < -_ROUNDING or values.max() > 1 + _ROUNDING:
        raise _wrong(answer, f"probabilities from {values.min():g} to {values.max():g}")
    return np.array(values, np.float32)


def _class(answer: Answer, index: int, classes: int) -> int:
    if not 0 <= index < classes:
        raise _wrong(answer, f"the class {index}, but the model has classes 0 to {classes - 1}")
    return index


def _document(answer: Answer, text: bytes, kind: type[DocumentT]) -> DocumentT:
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise _wrong(answer, f"{where}: {first['msg']}") from None


def _wrong(answer: Answer, what: str) -> EndpointError:
    return EndpointError(f"{answer.url} sent an answer that is not valid: {what}.")
