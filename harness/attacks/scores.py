"""What an attack by score minimises: a number for each answer, from its probabilities."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness.types import Case

_SMALLEST_PROBABILITY = float(np.finfo(np.float32).tiny)


def scores(
    probabilities: NDArray[np.floating[Any]], cases: Sequence[Case], *, targeted: bool
) -> list[float]:
    """Return the margin of each label in nats, or with targets the cross-entropy of each target.

    A margin below 0 is a wrong answer.

    Args:
        probabilities: ``(n, classes)``.
        cases: the photograph of each row.
        targeted: whether the attacker wants the case's target, or any wrong class.
    """
    logs = np.log(np.maximum(probabilities, _SMALLEST_PROBABILITY))
    if targeted:
        return [float(-row[case.goal]) for row, case in zip(logs, cases, strict=True)]
    margins = []
    for row, case in zip(logs, cases, strict=True):
        others = np.delete(row, case.label)
        margins.append(float(row[case.label] - others.max()))
    return margins
