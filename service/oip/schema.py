"""The schema of an inference request, and the errors for documents that do not match it.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import InvalidParameterError
from service.oip.numbers import Numbers
from service.settings import MAX_DRAWS

Datatype = Literal["BYTES", "UINT8", "FP32"]
"""The data of an input: encoded image files, or pixels."""

_MOST_OUTPUTS = 16
_MOST_PROBLEMS = 3
"""How many problems a message lists."""


class _Object(BaseModel):
    """A JSON object of known fields with values of exactly their types: ``true`` is not 1."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if isinstance(given, dict):
            unknown = (name for name in given if name not in cls.model_fields)
            if names := [ascii(name[:40]) for name in islice(unknown, _MOST_PROBLEMS)]:
                allowed = ", ".join(cls.model_fields)
                raise ValueError(f"unknown: {', '.join(names)}; allowed: {allowed}")
            given = {
                name: [None] * len(value)
                if isinstance(value, Numbers) and name != "data"
                else value
                for name, value in given.items()
            }  # in other lists only the length matters, because they are too long
        return given


class InputParameters(_Object):
    """The parameters of an input."""

    binary_data_size: int | None = Field(None, ge=0)


class Input(_Object):
    """A tensor of the request.

    Attributes:
        name: the client's own; any name is accepted.
        shape: 1 to 4 dimensions of 1 or more.
        data: numbers, flat in row-major order or nested like the shape; None if they are binary.
    """

    name: str
    shape: Annotated[list[Annotated[int, Field(ge=1, lt=2**31)]], Field(min_length=1, max_length=4)]
    datatype: Datatype
    parameters: InputParameters | None = None
    data: Any = None


class OutputParameters(_Object):
    """The parameters of a requested output."""

    binary_data: bool | None = None
    classification: int | None = Field(None, ge=0, lt=2**31)


class RequestedOutput(_Object):
    """A tensor that the answer must have."""

    name: str
    parameters: OutputParameters | None = None


class Parameters(_Object):
    """The parameters of the request.

    Attributes:
        binary_data_output: whether outputs without a ``binary_data`` of their own are binary.
        draws: independent draws of the defence, averaged.
        defense: one that the operator allows.
        timeout: microseconds; 0 for no timeout.
    """

    binary_data_output: bool | None = None
    draws: int | None = Field(None, ge=1, le=MAX_DRAWS)
    defense: str | None = Field(None, max_length=200)
    timeout: int | None = Field(None, ge=0, lt=2**63)


class InferenceRequest(_Object):
    """The JSON object of a request. Some clients write optional fields as null.

    Attributes:
        model_name: sent by KServe's clients and ignored, since the path names the model.
        model_version: sent and ignored likewise.
    """

    id: str | None = None
    model_name: str | None = None
    model_version: str | None = None
    parameters: Parameters | None = None
    inputs: Annotated[list[Input], Field(min_length=1, max_length=1)]
    outputs: Annotated[list[RequestedOutput], Field(max_length=_MOST_OUTPUTS)] | None = None

    @classmethod
    def of(cls, document: Any) -> Self:
        """Read a parsed JSON document.

        Raises:
            InvalidParameterError: it is not an inference request; the message locates each problem.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            listed = [_sentence(each["loc"], each["msg"]) for each in problems[:_MOST_PROBLEMS]]
            if len(problems) > _MOST_PROBLEMS:
                listed.append(f"and {len(problems) - _MOST_PROBLEMS} more")
            raise InvalidParameterError("; ".join(listed)) from None


def _sentence(place: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    if message.startswith("Input should be a valid dictionary"):
        message = "Input should be a JSON object"
    return f"{path.lstrip('.') or 'the request'}: {message.removeprefix('Value error, ')}"
