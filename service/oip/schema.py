"""The JSON of an inference request, and what is said of one that is none.

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
"""

from itertools import islice
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from service.errors import InvalidParameterError
from service.settings import MAX_DRAWS

Datatype = Literal["BYTES", "UINT8", "FP32"]
"""What an input may hold: encoded image files, or pixels."""

_MOST_OUTPUTS = 16
_MOST_PROBLEMS = 3
"""As many problems are told."""


class _Object(BaseModel):
    """A JSON object whose every field is known, and of the very type: no ``true`` for a 1."""

    model_config = ConfigDict(strict=True, frozen=True)

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        if isinstance(given, dict):
            unknown = (name for name in given if name not in cls.model_fields)
            if names := [ascii(name[:40]) for name in islice(unknown, _MOST_PROBLEMS)]:
                allowed = ", ".join(cls.model_fields)
                raise ValueError(f"{', '.join(names)} is not known here; known are {allowed}")
        return given


class InputParameters(_Object):
    """The parameters of an input."""

    binary_data_size: int | None = Field(None, ge=0)


class Input(_Object):
    """A tensor of the request.

    Attributes:
        name: the client's own; any is taken.
        shape: 1 to 4 dimensions of 1 or more.
        data: numbers, flat in row-major order or nested as the shape; None if they are binary.
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
    """A tensor that the answer shall have."""

    name: str
    parameters: OutputParameters | None = None


class Parameters(_Object):
    """The parameters of the request.

    Attributes:
        binary_data_output: whether outputs that do not say so are binary.
        draws: independent draws of the defence, averaged.
        defense: one that the operator allows.
        timeout: microseconds; 0 is none.
    """

    binary_data_output: bool | None = None
    draws: int | None = Field(None, ge=1, le=MAX_DRAWS)
    defense: str | None = Field(None, max_length=200)
    timeout: int | None = Field(None, ge=0, lt=2**63)


class InferenceRequest(_Object):
    """The JSON object of a request. An optional field may also be null, as some clients write it.

    Attributes:
        model_name: sent by KServe's clients, who name the model in the path too: that counts.
        model_version: likewise.
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
            InvalidParameterError: it is no inference request; each problem is named by its place.
        """
        try:
            return cls.model_validate(document)
        except ValidationError as error:
            problems = error.errors(include_url=False, include_context=False, include_input=False)
            told = [_tell(problem["loc"], problem["msg"]) for problem in problems[:_MOST_PROBLEMS]]
            if len(problems) > _MOST_PROBLEMS:
                told.append(f"and {len(problems) - _MOST_PROBLEMS} more")
            raise InvalidParameterError("; ".join(told)) from None


def _tell(place: tuple[int | str, ...], message: str) -> str:
    path = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in place)
    if message.startswith("Input should be a valid dictionary"):
        message = "Input should be a JSON object"
    return f"{path.lstrip('.') or 'the request'}: {message.removeprefix('Value error, ')}"
