"""The server's answers as frozen dataclasses, with the fields of ``docs/http.md``.

A field with a default is one that a server may leave out: because its operator hides it
(``--response-detail``), or because the server is older than this package.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ClassProbability:
    """A class of an answer.

    Attributes:
        index: the class's index in the model's output, from 0.
        label: its name.
        probability: in [0, 1], the mean over the draws; None if the server hides it.
    """

    index: int
    label: str
    probability: float | None = None


@dataclass(frozen=True)
class Timings:
    """Milliseconds by stage; a stage counts all draws of the image."""

    decode: float
    defend: float
    preprocess: float
    queue: float
    infer: float
    total: float


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """The classification of one image.

    Attributes:
        predictions: the classes, the most probable first; at least one.
        agreement: the share of the draws, in [0, 1], whose most probable class is the answer's.
            None if the server hides it.
        unsure: whether the server advises against trusting the answer; None if it does not say.
        timings_ms: None if the server hides them.
    """

    predictions: tuple[ClassProbability, ...]
    agreement: float | None = None
    unsure: bool | None = None
    timings_ms: Timings | None = None

    @property
    def best(self) -> ClassProbability:
        """The most probable class."""
        return self.predictions[0]


@dataclass(frozen=True, kw_only=True)
class Answer(Prediction):
    """The answer to one image.

    Attributes:
        model: the name of the model.
        defense: the specification of the defence.
        draws: over how many draws the probabilities are averaged.
        request_id: the id under which the server's log has the request.
    """

    model: str
    defense: str
    draws: int
    request_id: str


@dataclass(frozen=True)
class FileError:
    """Why one file of several could not be classified; see :class:`warpguard.ApiError`."""

    code: str
    message: str

    def __str__(self) -> str:
        return f"{self.code}: {self.message}"


@dataclass(frozen=True)
class FileAnswer:
    """The answer to one file of several, which has either a prediction or an error.

    Attributes:
        file: the path as it was given, or ``image-N`` for the Nth image if it was given as bytes.
        prediction: the answer.
        error: why there is none.
    """

    file: str
    prediction: Answer | None = None
    error: FileError | None = None


@dataclass(frozen=True)
class DefendedImage:
    """A defended image.

    Attributes:
        png: the file, of the original size.
        defense: the specification of the defence.
    """

    png: bytes
    defense: str


@dataclass(frozen=True, kw_only=True)
class Model:
    """The served model.

    Attributes:
        name: its name.
        provider: the execution provider of ONNX Runtime that runs it.
        input: the graph's input, such as ``{"height_px": 260, "width_px": 260, …}``.
        classes: how many classes it has.
        source: where it comes from.
        licence: under which terms.
        reported_top1: the top-1 accuracy that its source reports, in [0, 1].
        sha256: of the ONNX graph.
        precision: in which precision it is served.
    """

    name: str
    provider: str
    input: Mapping[str, Any]
    classes: int
    source: str
    licence: str
    reported_top1: float | None = None
    sha256: str | None = None
    precision: str | None = None


@dataclass(frozen=True)
class Operation:
    """One operation of a defence, with its parameters."""

    name: str
    summary: str
    reference: str
    parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Defense:
    """A defence that a request may name.

    Attributes:
        name: its specification.
        random: whether each image gets another draw.
        operations: what it consists of, in order.
    """

    name: str
    random: bool
    operations: tuple[Operation, ...]


@dataclass(frozen=True)
class Defenses:
    """The defences that requests may name, and the one that is used by default."""

    default: str
    defenses: tuple[Defense, ...]


@dataclass(frozen=True, kw_only=True)
class FormEntry:
    """One entry of a form's answer, as the server sends it."""

    file: str
    prediction: Prediction | None = None
    error: FileError | None = None


@dataclass(frozen=True, kw_only=True)
class FormAnswer:
    """The answer to a form of files, as the server sends it."""

    results: tuple[FormEntry, ...]
    model: str
    defense: str
    draws: int
    request_id: str


@dataclass(frozen=True)
class ModelsAnswer:
    """The list of served models, as the server sends it."""

    models: tuple[Model, ...]
