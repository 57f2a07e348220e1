"""From a classification to the JSON of its answer, at the detail that the operator allows."""

from collections.abc import Sequence

import numpy as np

from service.api.schemas import ClassLabel, ClassProbability, Prediction, Timings, TopClass
from service.predictor import Classification
from service.settings import Detail


def prediction(classification: Classification, labels: Sequence[str], top_k: int) -> Prediction:
    """The answer in full, with the ``top_k`` most probable classes.

    Args:
        classification: of one image.
        labels: the names of the classes.
        top_k: how many classes to name.
    """
    values = classification.probabilities
    best = np.argsort(-values, kind="stable")[:top_k]
    timings_ms = {name: round(ms, 3) for name, ms in classification.timings_ms.items()}
    return Prediction(
        predictions=[
            ClassProbability(index=int(i), label=labels[i], probability=float(values[i]))
            for i in best
        ],
        agreement=classification.agreement,
        unsure=classification.unsure,
        timings_ms=Timings(**timings_ms),
    )


def redact(
    classification: Classification, labels: Sequence[str], *, top_k: int, detail: Detail
) -> Prediction | TopClass:
    """The answer without what the operator hides.

    The less a response reveals, the less an attacker can learn by querying.

    Args:
        classification: of one image.
        labels: the names of the classes.
        top_k: how many classes to name, if the detail allows more than one.
        detail: ``label`` is the most probable class, ``top1`` adds its probability, ``full`` is
            everything.
    """
    if detail == "full":
        return prediction(classification, labels, top_k)
    best = int(classification.probabilities.argmax())
    if detail == "label":
        return TopClass(predictions=[ClassLabel(index=best, label=labels[best])])
    probability = float(classification.probabilities[best])
    top = ClassProbability(index=best, label=labels[best], probability=probability)
    return TopClass(predictions=[top])
