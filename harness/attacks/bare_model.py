"""Attacks on the undefended model. One round is the whole attack, and gradients are counted."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attacks.attack import Attack, Attacker
from harness.types import Case, State

Batch = NDArray[np.float32]
"""``(n, 3, H, W)`` in [0, 1]."""


class CountingModel(nn.Module):
    """A model that counts its backward passes, one for each image.

    Attributes:
        gradients: how many there were so far.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._model = module
        self.gradients = 0

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the model's logits."""
        logits: Tensor = self._model(pixels)
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.gradients += len(gradient)


@dataclass(frozen=True, kw_only=True)
class BareModelAttack(Attack):
    """An attack on the bare model that ends by itself. Its result is projected onto the budget.

    Attributes:
        iterations: the largest number of steps.
    """

    on_bare_model: ClassVar[bool] = True

    rounds: int = 1
    iterations: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.rounds == 1, "rounds", "1 (set iterations instead)")
        self._require(self.iterations >= 1, "iterations", "1 or more")

    def with_more_iterations(self, factor: int) -> Self:
        """Return the attack with ``factor`` times as many iterations."""
        return replace(self, iterations=self.iterations * factor)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Do the whole attack."""
        surrogate = attacker.surrogate_for(self)
        model = CountingModel(surrogate.module)
        clean = np.stack([case.image for case in cases]).transpose(0, 3, 1, 2)
        goals = np.array([case.goal if self.targeted else case.label for case in cases])
        classes = len(surrogate.manifest.label_names)
        found, spent = self._find(model, np.ascontiguousarray(clean), goals, classes)
        return [
            state.advanced(
                self.budget.project(case.image, np.ascontiguousarray(image.transpose(1, 2, 0))),
                gradients=state.gradients + cost,
            )
            for case, state, image, cost in zip(cases, states, found, spent, strict=True)
        ]

    @abstractmethod
    def _find(
        self, model: CountingModel, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        """Return the adversarial images, and how many gradients each of them took."""
