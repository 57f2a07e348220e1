"""Which output of a server of the Open Inference Protocol has the scores, and what they are.

The metadata has the outputs' names and datatypes, but not whether numbers are logits or
probabilities. The answer to one image shows it: probabilities are in [0, 1] and their sum is 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from harness.endpoint import tensors
from harness.endpoint.answers import wrong
from harness.endpoint.metadata import ModelMetadata
from harness.endpoint.transport import Answer
from harness.errors import EndpointError, HiddenProbabilitiesError
from models import Manifest

_PREFERRED = "probabilities"


class _Described(Protocol):
    @property
    def name(self) -> str: ...
    @property
    def datatype(self) -> str: ...
    @property
    def shape(self) -> Sequence[int]: ...


@dataclass(frozen=True)
class Reading:
    """How an answer to one image is read.

    Attributes:
        output: the name of the output.
        kind: what it holds: logits, probabilities, or the number of the most probable class.
        shape: its shape for one image.
        classes: the number of the model's classes.
    """

    output: str
    kind: Literal["logits", "probabilities", "class"]
    shape: tuple[int, ...]
    classes: int

    def most_probable(self, answer: Answer) -> int:
        """Return the most probable class.

        Raises:
            EndpointError: the answer is not valid.
        """
        if self.kind == "class":
            return tensors.class_index(answer, self.output, self.classes, self.shape)
        return int(self.probabilities(answer).argmax())

    def probabilities(self, answer: Answer) -> NDArray[np.float32]:
        """Return the probabilities, ``(classes,)``.

        Raises:
            HiddenProbabilitiesError: the output is a class.
            EndpointError: the answer is not valid.
        """
        if self.kind == "class":
            raise HiddenProbabilitiesError(
                f"{answer.url} returns only the most probable class, but this attack needs all "
                "probabilities. Use an attack that takes classes, such as hopskipjump."
            )
        row = tensors.scores(answer, self.output, self.shape)
        if self.kind == "logits":
            return tensors.softmax(row)
        if not tensors.are_probabilities(row):
            raise wrong(answer, f"{_shown(row)} of {self.output} are not probabilities")
        return row

    def __str__(self) -> str:
        """Return what is read, for the record of a run."""
        taken = {"logits": "softmax of", "probabilities": "probabilities in", "class": "class in"}
        return f"{taken[self.kind]} {self.output!r}"


def asked_output(model: ModelMetadata, manifest: Manifest | None, where: str) -> str | None:
    """Return the name of the output to ask for; None if the metadata lists no outputs.

    Raises:
        EndpointError: it is not clear which output has the scores.
    """
    return _chosen(model.outputs, manifest, where) if model.outputs else None


def reading_of(answer: Answer, asked: str | None, manifest: Manifest | None) -> Reading:
    """Return how to read the answers of a model, of which one is known.

    Args:
        answer: the answer to one image.
        asked: the output that was asked for; None if none was named.
        manifest: the user's description of the model, if there is one.

    Raises:
        EndpointError: the answer is not valid, has not one score for each class, or contradicts
            the manifest.
    """
    name = asked or _chosen(tensors.tensors(answer), manifest, answer.url)
    output = tensors.tensor(answer, name)
    if output.datatype in tensors.INTEGERS:
        return _of_class(answer, output, manifest)
    row = tensors.scores(answer, output.name, output.shape)
    classes = len(row)
    if classes < 2 or max(output.shape) != prod(output.shape):
        raise EndpointError(
            f"{answer.url} answers one image with {output.name} of shape {[*output.shape]}. One "
            "score for each of two classes or more was expected."
        )
    if manifest is not None and classes != len(manifest.label_names):
        raise EndpointError(
            f"{answer.url} answers with {classes} scores, but the manifest has "
            f"{len(manifest.label_names)} labels. Correct the labels of the manifest."
        )
    logits = manifest is not None and manifest.output.kind == "logits"
    if tensors.are_probabilities(row):
        if logits and manifest is not None and manifest.output.name == output.name:
            raise EndpointError(
                f"{answer.url} answers with {output.name} in [0, 1] and with a sum of 1. These are "
                "probabilities, but the manifest calls them logits. Set output.kind to "
                '"probabilities" in it.'
            )
        return Reading(output.name, "probabilities", output.shape, classes)
    if logits:
        return Reading(output.name, "logits", output.shape, classes)
    raise EndpointError(
        f"{answer.url} answers with {_shown(row)} in {output.name}, which are not probabilities: "
        'if they are logits, name a file with --manifest whose output.kind is "logits" '
        "(docs/models.md)."
    )


def _of_class(answer: Answer, output: tensors.Tensor, manifest: Manifest | None) -> Reading:
    if manifest is None:
        raise EndpointError(
            f"{answer.url} answers with a class in {output.name}, and does not report how many "
            "classes there are. Name a file with the labels with --manifest (docs/models.md)."
        )
    if prod(output.shape) != 1:
        raise EndpointError(
            f"{answer.url} answers one image with {output.name} of shape {[*output.shape]}. One "
            "class was expected."
        )
    reading = Reading(output.name, "class", output.shape, len(manifest.label_names))
    reading.most_probable(answer)
    return reading


def _chosen(outputs: Sequence[_Described], manifest: Manifest | None, where: str) -> str:
    """Return the name of the output with the scores, or else with the class."""
    names = [each.name for each in outputs]
    for wanted in (manifest.output.name if manifest else "", _PREFERRED):
        if wanted in names:
            return wanted
    scores = [each for each in outputs if _may_be_scores(each)]
    classes = [each for each in outputs if each.datatype in tensors.INTEGERS]
    for some in (scores, classes):
        if len(some) == 1:
            return some[0].name
        if some:
            break
    listed = ", ".join(f"{e.name} ({e.datatype} of shape {[*e.shape]})" for e in outputs)
    raise EndpointError(
        f"It is not clear which output of {where} has the scores: {listed or 'there are none'}. "
        "Name it as output.name in the file of --manifest (docs/models.md)."
    )


def _may_be_scores(output: _Described) -> bool:
    several = len(output.shape) != 1 or output.shape[0] > 1
    return output.datatype in (*tensors.FLOATS, "") and several


def _shown(row: NDArray[np.float32]) -> str:
    return f"numbers from {row.min():.3g} to {row.max():.3g} with a sum of {row.sum():.3g}"
