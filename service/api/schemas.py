"""The JSON of requests and answers, as the OpenAPI document shows it."""

from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from service.predictor import Outcome


class _Schema(BaseModel):
    model_config = ConfigDict(frozen=True)


class ErrorDetail(_Schema):
    """What is wrong."""

    code: str = Field(description="A word for programs.", examples=["too_many_pixels"])
    message: str = Field(description="A sentence for people.")


class ErrorAnswer(_Schema):
    """The body of every answer that is not the one asked for."""

    error: ErrorDetail


class ClassLabel(_Schema):
    """The class of an answer that tells no more."""

    index: int = Field(description="The class's index in the model's output, from 0.")
    label: str


class ClassProbability(ClassLabel):
    """One class of the answer."""

    probability: float = Field(description="In [0, 1]; the mean over the draws.")


class Timings(_Schema):
    """Milliseconds by stage. A stage that runs for several draws counts all of them."""

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
    timings_ms: Timings

    @classmethod
    def of(cls, outcome: Outcome, labels: Sequence[str], top_k: int) -> Self:
        """The ``top_k`` most probable classes of an outcome."""
        values = outcome.probabilities
        best = np.argsort(-values, kind="stable")[:top_k]
        return cls(
            predictions=[
                ClassProbability(index=int(i), label=labels[i], probability=float(values[i]))
                for i in best
            ],
            agreement=outcome.agreement,
            timings_ms=Timings(**{name: round(ms, 3) for name, ms in outcome.stages_ms.items()}),
        )


class TopClass(_Schema):
    """The classification of one image, where the server is set to tell less."""

    predictions: list[ClassProbability | ClassLabel] = Field(
        description="The most probable class.", max_length=1
    )


class _Context(_Schema):
    model: str
    defense: str
    draws: int
    request_id: str


class PredictAnswer(Prediction, _Context):
    """The answer to one image."""


class PredictTopAnswer(TopClass, _Context):
    """The answer to one image, where the server is set to tell less."""


class FileAnswer(_Schema):
    """The answer to one file of a form: a prediction, or this file's own error."""

    file: str = Field(description="The file's name in the form.")
    prediction: Prediction | TopClass | None = None
    error: ErrorDetail | None = None


class PredictFilesAnswer(_Context):
    """The answer to a form of files, in the form's order."""

    results: list[FileAnswer]


class ModelEntry(_Schema):
    """A model that this server serves."""

    name: str
    provider: str = Field(description="ONNX Runtime's execution provider that is really in use.")
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

    name: str = Field(description="What the query parameter 'defense' calls it.")
    random: bool = Field(description="Whether each image is defended differently.")
    operations: list[OperationEntry]


class DefensesAnswer(_Schema):
    """The defences that a request may name."""

    default: str
    defenses: list[DefenseEntry]


class HealthAnswer(_Schema):
    """The state of the server."""

    status: str = Field(examples=["ok", "ready"])
