"""From what became of each image to the tensors of the answer."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models import Manifest
from service.errors import InvalidParameterError
from service.oip.codec import Inference, Tensor, Wanted
from service.predictor import Outcome
from service.settings import Settings

_SCORES: dict[str, Callable[[Outcome], NDArray[np.float32]]] = {
    "probabilities": lambda outcome: outcome.probabilities,
    "logits": lambda outcome: outcome.scores,
}

_VALUES: dict[str, Callable[[Outcome, Sequence[str]], NDArray[Any]]] = {
    "agreement": lambda outcome, _: np.array(outcome.agreement, np.float32),
    "probability": lambda outcome, _: outcome.probabilities.max(),
    "index": lambda outcome, _: np.array(outcome.probabilities.argmax(), np.int64),
    "label": lambda outcome, labels: np.array(
        labels[int(outcome.probabilities.argmax())].encode(), object
    ),
}


def describe(manifest: Manifest, settings: Settings) -> dict[str, dict[str, Any]]:
    """The outputs of a model by name, as its metadata shows them; the default one first.

    A dimension of any size is -1. There are logits where the model's graph gives them. A server
    that is set to tell less has other outputs.
    """
    classes = len(manifest.label_names)
    height, width = manifest.input.height_px, manifest.input.width_px
    shapes: dict[str, tuple[str, list[int]]] = {
        "probabilities": ("FP32", [-1, classes]),
        "logits": ("FP32", [-1, classes]),
        "agreement": ("FP32", [-1]),
        "defended": ("UINT8", [-1, height, width, 3]),
    }
    if manifest.output.kind != "logits":
        del shapes["logits"]
    if not settings.shows_defended:
        del shapes["defended"]
    if settings.response_detail != "full":
        shapes = {"label": ("BYTES", [-1]), "index": ("INT64", [-1])}
    if settings.response_detail == "top1":
        shapes["probability"] = ("FP32", [-1])
    return {
        name: {"name": name, "datatype": datatype, "shape": shape}
        for name, (datatype, shape) in shapes.items()
    }


def check(wanted: Sequence[Wanted]) -> None:
    """See that classes are only asked for where there are some.

    Raises:
        InvalidParameterError: they are not.
    """
    for output in wanted:
        if output.classes and output.name not in _SCORES:
            raise InvalidParameterError(
                f"The parameter classification is for {' and '.join(_SCORES)}, not {output.name}."
            )


def tensors(
    inference: Inference, outcomes: Sequence[Outcome], labels: Sequence[str]
) -> Iterator[Tensor]:
    """The wanted outputs, in the order they were asked for.

    Args:
        inference: the request.
        outcomes: what became of each of its images.
        labels: the names of the classes.

    Yields:
        ``probabilities``, ``logits``: FP32 of shape ``(N, classes)``, or BYTES of shape
        ``(N, count)`` where classes were asked for; ``agreement``, ``probability``: FP32 of shape
        ``(N,)``; ``label``: BYTES and ``index``: INT64 of that shape, the most probable class's;
        ``defended``: ``(N * draws, H, W, 3)``, or ``(N * draws, 3, H, W)`` if the images came like
        that, each image's draws one after the other.
    """
    for wanted in inference.wanted:
        rows: list[NDArray[Any]]
        if wanted.name in _SCORES:
            rows = [_SCORES[wanted.name](outcome) for outcome in outcomes]
            if wanted.classes:
                rows = [_classes(row, wanted.classes, labels) for row in rows]
        elif wanted.name in _VALUES:
            rows = [_VALUES[wanted.name](outcome, labels) for outcome in outcomes]
        else:
            rows = [image for outcome in outcomes for image in outcome.defended]
            if inference.images.channels_first:
                rows = [row.transpose(2, 0, 1) for row in rows]
        yield Tensor(wanted.name, rows, wanted.binary)


def _classes(scores: NDArray[np.float32], count: int, labels: Sequence[str]) -> NDArray[np.object_]:
    """The highest scores as ``value:index:label``, the value with six decimals as Triton's."""
    best = np.argsort(-scores, kind="stable")[:count]
    return np.array([f"{scores[i]:f}:{i}:{labels[i]}".encode() for i in best], object)
