"""The JSON of the answers, as the OpenAPI document shows it."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from service.error_response import ErrorDetail


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class ClassLabel(_Schema):
    """A class without its probability."""

    index: int = Field(description="The class's index in the model's output, from 0.")
    label: str


class ClassProbability(ClassLabel):
    """A class with its probability."""

    probability: float = Field(description="In [0, 1]; the mean over the draws.")


class Timings(_Schema):
    """Milliseconds by stage. A stage counts all of the image's draws."""

    decode: float = Field(description="Decoding, and resizing to the model's input.")
    defend: float = Field(description="The defence.")
    preprocess: float = Field(description="Scaling to the model's values.")
    queue: float = Field(description="Waiting for a thread, and for a batch.")
    infer: float = Field(description="The batch's inference.")
    total: float = Field(description="From the body's last byte to the answer.")


class Prediction(_Schema):
    """The classification of one image."""

    predictions: list[ClassProbability] = Field(description="The most probable first.")
    agreement: float = Field(
        description="The share of the draws, in [0, 1], whose most probable class is the answer's."
    )
    unsure: bool | None = Field(
        None,
        exclude_if=lambda unsure: unsure is None,
        description="Whether the agreement is below the operator's --min-agreement; absent "
        "without it.",
    )
    timings_ms: Timings


class TopClass(_Schema):
    """The classification of one image by a server that does not answer in full."""

    predictions: list[ClassProbability | ClassLabel] = Field(
        description="The most probable class.", max_length=1
    )


class _Context(_Schema):
    model: str
    precision: str = Field(description="Of the model: fp32 or int8.", examples=["fp32"])
    defense: str
    draws: int
    request_id: str


class PredictAnswer(Prediction, _Context):
    """The answer to one image."""


class PredictTopAnswer(TopClass, _Context):
    """The answer to one image by a server that does not answer in full."""


class FileAnswer(_Schema):
    """The answer to one file of a form: its prediction, or its error."""

    file: str = Field(description="The file's name in the form.")
    prediction: Prediction | TopClass | None = None
    error: ErrorDetail | None = None


class PredictFilesAnswer(_Context):
    """The answer to a form of files, in the form's order."""

    results: list[FileAnswer]


class ModelEntry(_Schema):
    """A model that this server serves."""

    name: str
    provider: str = Field(description="The execution provider of ONNX Runtime that is in use.")
    precision: str = Field(description="fp32 or int8.")
    precision_reason: str = Field(description="Why the model runs in this precision.")
    input: dict[str, Any] = Field(description="The graph's input: name, layout, size in px.")
    classes: int
    source: str
    licence: str
    reported_top1: float | None
    sha256: str | None = Field(description="Of the ONNX graph.")


class ModelsAnswer(_Schema):
    """The models that this server serves."""

    models: list[ModelEntry]


class OperationEntry(_Schema):
    """One operation of a defence."""

    name: str
    summary: str
    reference: str
    parameters: dict[str, Any]


class DefenseEntry(_Schema):
    """One allowed defence."""

    name: str = Field(description="Its name in the query parameter 'defense'.")
    random: bool = Field(description="Whether each image gets another draw.")
    operations: list[OperationEntry]


class DefensesAnswer(_Schema):
    """The defences that a request may name."""

    default: str
    defenses: list[DefenseEntry]


class HealthAnswer(_Schema):
    """The state of the server."""

    status: str = Field(examples=["ok", "ready"])
