"""The types that every part of the harness shares. This module imports no other part of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

Pixels: TypeAlias = NDArray[np.float32]
"""``(H, W, 3)`` RGB in [0, 1]."""
Posted: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""What goes to an endpoint: ``(H, W, 3)``, ``uint8`` in [0, 255] or ``float32`` in [0, 1]."""


@dataclass(frozen=True)
class Case:
    """One photograph to attack.

    Attributes:
        file: its name in the dataset.
        image: its pixels at the model's size.
        label: the true class.
        target: the class that the attacker wants; None for any wrong one.
    """

    file: str
    image: Pixels
    label: int
    target: int | None

    @property
    def goal(self) -> int:
        """The class that a loss is about: the target, or without one, the label."""
        return self.label if self.target is None else self.target


@dataclass(frozen=True)
class State:
    """How far an attack on one photograph has come.

    Attributes:
        adversarial: the current iterate, inside the budget.
        round: how many rounds were done.
        memory: what the attack keeps besides, such as its momentum.
        gradients, queries: what was spent so far; each draw, each posted image counts as one.
        zero_gradients, nonfinite_gradients: how many rounds had such a gradient.
    """

    adversarial: Pixels
    round: int = 0
    memory: dict[str, NDArray[Any]] = field(default_factory=dict)
    gradients: int = 0
    queries: int = 0
    zero_gradients: int = 0
    nonfinite_gradients: int = 0

    def advanced(self, adversarial: Pixels, **changes: Any) -> Self:
        """The state one round further."""
        return replace(self, adversarial=adversarial, round=self.round + 1, **changes)


class Victim(Protocol):
    """What is asked about images: an endpoint, or a surrogate that stands for one."""

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """The most probable class of each image, each on a fresh draw: ``(n,)``."""
        ...

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """The mean over fresh draws of the classes' probabilities: ``(n, classes)``."""
        ...
