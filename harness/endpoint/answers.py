"""From the bytes of an endpoint's answers to checked values. A failed check is an EndpointError.

Documents are read by pydantic, which limits how deep their JSON may be.
"""

from typing import Annotated, Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.endpoint.transport import Answer
from harness.errors import EndpointError

ROUNDING = 1e-6
"""How far the rounding of float32 may move a probability out of [0, 1]."""
Name = Annotated[str, Field(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=0, lt=2**31)]


class Document(BaseModel):
    """A JSON object, of which only the named fields are read."""

    model_config = ConfigDict(frozen=True, strict=True, allow_inf_nan=False)


DocumentT = TypeVar("DocumentT", bound=Document)


class ModelInput(Document):
    """The size of a model's input."""

    height_px: int = Field(ge=1, le=65_535)
    width_px: int = Field(ge=1, le=65_535)


class ServedModel(Document):
    """A model in the answer of ``/v1/models``."""

    name: Name
    sha256: str | None = Field(max_length=64)
    classes: int = Field(ge=1, le=10_000_000)
    input: ModelInput


class ServedModels(Document):
    """The answer of ``/v1/models``."""

    models: list[ServedModel] = Field(min_length=1)


class ListedOperation(Document):
    """An operation of a defence, with all of its parameters."""

    name: Name
    parameters: dict[str, Any]


class ListedDefense(Document):
    """A defence that the endpoint allows."""

    name: Name
    operations: list[ListedOperation]


class ListedDefenses(Document):
    """The answer of ``/v1/defenses``."""

    default: Name
    defenses: list[ListedDefense]


class _Ranked(Document):
    index: Count
    probability: float | None = Field(None, ge=0, le=1 + ROUNDING)


class _Predictions(Document):
    predictions: list[_Ranked] = Field(min_length=1)


def document(answer: Answer, kind: type[DocumentT], length_bytes: int | None = None) -> DocumentT:
    """Read a JSON document, which is the answer or its first bytes.

    Raises:
        EndpointError: the bytes are not JSON, are nested too deeply, or lack a field.
    """
    try:
        return kind.model_validate_json(answer.body[:length_bytes])
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise wrong(answer, f"{where}: {first['msg']}") from None


def top_class(answer: Answer, classes: int) -> int:
    """Return the most probable class of an answer of ``/v1/predict``.

    Raises:
        EndpointError: the answer is not valid, or the class is not one of the model's.
    """
    first = document(answer, _Predictions).predictions[0]
    return class_of(answer, first.index, classes)


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
            values[class_of(answer, each.index, classes)] = each.probability
    if len(ranked) != classes or np.isnan(values).any():
        raise wrong(
            answer, f"{len(ranked)} probabilities, but the model has {classes} classes, each once"
        )
    return values


def class_of(answer: Answer, index: int, classes: int) -> int:
    """Return a class, if the model has it.

    Raises:
        EndpointError: it is not one of the model's classes.
    """
    if not 0 <= index < classes:
        raise wrong(answer, f"the class {index}, but the model has classes 0 to {classes - 1}")
    return index


def wrong(answer: Answer, what: str) -> EndpointError:
    """Return the error for an answer that is not valid."""
    return EndpointError(f"{answer.url} sent an answer that is not valid: {what}.")
