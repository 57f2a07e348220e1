"""How much an answer tells: an attacker who asks learns less from less."""

from collections.abc import Sequence
from typing import Literal

from service.api.schemas import ClassLabel, ClassProbability, Prediction, TopClass
from service.predictor import Outcome

Detail = Literal["label", "top1", "full"]


def told(
    outcome: Outcome, labels: Sequence[str], *, top_k: int, detail: Detail
) -> Prediction | TopClass:
    """What is told of one image.

    Args:
        outcome: what became of it.
        labels: the names of the classes.
        top_k: how many classes to name, where more than one may be.
        detail: ``label`` is the most probable class, ``top1`` its probability too, and ``full`` all
            that there is.
    """
    if detail == "full":
        return Prediction.of(outcome, labels, top_k)
    best = int(outcome.probabilities.argmax())
    if detail == "label":
        return TopClass(predictions=[ClassLabel(index=best, label=labels[best])])
    probability = float(outcome.probabilities[best])
    top = ClassProbability(index=best, label=labels[best], probability=probability)
    return TopClass(predictions=[top])
