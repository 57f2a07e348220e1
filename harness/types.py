"""The types that all parts of the harness share. This module imports no other part of it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.float32]
"""``(H, W, 3)`` RGB in [0, 1]."""
Posted: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""An image for an endpoint: ``(H, W, 3)``, ``uint8`` in [0, 255] or ``float32`` in [0, 1]."""
OnProgress: TypeAlias = Callable[[str, int, int], None]
"""Called with the kind of work, such as ``attack``, the number of steps done, and their total."""


@dataclass(frozen=True)
class Case:
    """One photograph to attack.

    Attributes:
        file: the photograph's name in the dataset.
        image: the pixels at the model's size.
        label: the true class.
        target: the class that the attacker wants; None for any wrong class.
    """

    file: str
    image: Pixels
    label: int
    target: int | None

    @property
    def goal(self) -> int:
        """The class in the loss: the target, or the label if there is no target."""
        return self.label if self.target is None else self.target


@dataclass(frozen=True)
class State:
    """The progress of an attack on one photograph.

    Attributes:
        adversarial: the current iterate, inside the budget.
        round: how many rounds are done.
        memory: further arrays that the attack needs in the next round, such as its momentum.
        gradients, queries: how many gradients were taken and images posted. Each draw counts.
        zero_gradients, nonfinite_gradients: how many rounds had a gradient that was zero
            everywhere, or that had a NaN or an infinity.
    """

    adversarial: Pixels
    round: int = 0
    memory: dict[str, NDArray[Any]] = field(default_factory=dict)
    gradients: int = 0
    queries: int = 0
    zero_gradients: int = 0
    nonfinite_gradients: int = 0

    def advanced(self, adversarial: Pixels, **changes: Any) -> Self:
        """Return the state after one more round."""
        return replace(self, adversarial=adversarial, round=self.round + 1, **changes)


class Victim(Protocol):
    """What an attacker queries: an endpoint, or a surrogate in its place."""

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """Return the most probable class of each image, each on a fresh draw: ``(n,)``."""
        ...

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)``."""
        ...
