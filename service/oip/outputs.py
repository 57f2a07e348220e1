"""From the classifications of a request to the tensors of its answer."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Manifest
from service.errors import InvalidParameterError
from service.oip.codec import Inference, NamedTensor, OutputSpec
from service.predictor import Classification
from service.settings import DefenseSettings

DEFENDED = "defended"
"""The output with the defended images themselves."""

_BINARY_BYTES = {"BOOL": 1, "UINT8": 1, "FP32": 4, "INT64": 8, "BYTES": 1024}
_JSON_BYTES = {"BOOL": 6, "UINT8": 4, "FP32": 24, "INT64": 21, "BYTES": 1024}
"""The most bytes of a value, and of the comma after it."""

_SCORES: dict[str, Callable[[Classification], NDArray[np.float32]]] = {
    "probabilities": lambda classification: classification.probabilities,
    "logits": lambda classification: classification.scores,
}

_VALUES: dict[str, Callable[[Classification, Sequence[str]], NDArray[Any]]] = {
    "agreement": lambda classification, _: np.array(classification.agreement, np.float32),
    "unsure": lambda classification, _: np.array(classification.unsure, np.bool_),
    "probability": lambda classification, _: classification.probabilities.max(),
    "index": lambda classification, _: np.array(classification.probabilities.argmax(), np.int64),
    "label": lambda classification, labels: np.array(
        labels[int(classification.probabilities.argmax())].encode(), object
    ),
}


def describe(manifest: Manifest, settings: DefenseSettings) -> dict[str, dict[str, Any]]:
    """The outputs of a model by name, as its metadata shows them; the default one first.

    A dimension of any size is -1. There are logits if the model's graph returns them. A server that
    does not answer in full has other outputs.
    """
    classes = len(manifest.label_names)
    height, width = manifest.input.height_px, manifest.input.width_px
    shapes: dict[str, tuple[str, list[int]]] = {
        "probabilities": ("FP32", [-1, classes]),
        "logits": ("FP32", [-1, classes]),
        "agreement": ("FP32", [-1]),
        "unsure": ("BOOL", [-1]),
        DEFENDED: ("UINT8", [-1, height, width, 3]),
    }
    if manifest.output.kind != "logits":
        del shapes["logits"]
    if settings.min_agreement is None:
        del shapes["unsure"]
    if not settings.shows_defended:
        del shapes[DEFENDED]
    if settings.response_detail != "full":
        shapes = {"label": ("BYTES", [-1]), "index": ("INT64", [-1])}
    if settings.response_detail == "top1":
        shapes["probability"] = ("FP32", [-1])
    return {
        name: {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in shapes.items()
    }


def check(outputs: Sequence[OutputSpec]) -> None:
    """Make sure that classes are requested of outputs that have some.

    Raises:
        InvalidParameterError: an output has no classes.
    """
    for output in outputs:
        if output.classes and output.name not in _SCORES:
            raise InvalidParameterError(
                f"The parameter classification is for {' and '.join(_SCORES)}, not {output.name}."
            )


def answer_bytes(
    inference: Inference, described: Mapping[str, dict[str, Any]], *, draws: int
) -> int:
    """The most bytes that an answer's tensors can have, known before anything is computed.

    Args:
        inference: the request.
        described: the outputs of the model, from :func:`describe`.
        draws: of each image.
    """
    sources = inference.images.sources
    is_wide = any(isinstance(each, np.ndarray) and each.dtype == np.float32 for each in sources)
    total = 0
    for output in inference.outputs:
        values = len(sources) * prod(described[output.name]["shape"][1:])
        if output.name == DEFENDED:
            values *= draws
            kind = "FP32" if is_wide else "UINT8"
        else:
            kind = described[output.name]["datatype"]
        total += values * (_BINARY_BYTES if output.binary else _JSON_BYTES)[kind]
    return total


def tensors(
    inference: Inference, classifications: Sequence[Classification], labels: Sequence[str]
) -> Iterator[NamedTensor]:
    """The requested outputs, in the request's order.

    Args:
        inference: the request.
        classifications: of each of its images.
        labels: the names of the classes.

    Yields:
        ``probabilities``, ``logits``: FP32 of shape ``(N, classes)``, or BYTES of shape
        ``(N, count)`` if classes were requested; ``agreement``, ``probability``: FP32 of shape
        ``(N,)``; ``unsure``: BOOL of that shape; ``label``: BYTES and ``index``: INT64 of that
        shape, the most probable class's; ``defended``: ``(N * draws, H, W, 3)``, or
        ``(N * draws, 3, H, W)`` if the images came in that layout, each image's draws one after
        the other.
    """
    for output in inference.outputs:
        rows: list[NDArray[Any]]
        if output.name in _SCORES:
            rows = [_SCORES[output.name](classification) for classification in classifications]
            if output.classes:
                rows = [_classes(row, output.classes, labels) for row in rows]
        elif output.name in _VALUES:
            rows = [
                _VALUES[output.name](classification, labels) for classification in classifications
            ]
        else:
            rows = [
                image for classification in classifications for image in classification.defended
            ]
            if inference.images.channels_first:
                rows = [row.transpose(2, 0, 1) for row in rows]
        yield NamedTensor(output.name, rows, output.binary)


def _classes(scores: NDArray[np.float32], count: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """The highest scores as ``value:index:label``, the value with six decimals like Triton's."""
    best = np.argsort(-scores, kind="stable")[:count]
    return np.array([f"{scores[i]:f}:{i}:{labels[i]}".encode() for i in best], object)
