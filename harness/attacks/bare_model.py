"""Attacks on the undefended model whose one round is the whole attack, with gradients counted."""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attacks.attack import Attack, Attacker
from harness.errors import AttackError
from harness.types import Case, State

Batch = NDArray[np.float32]
"""``(n, 3, H, W)`` in [0, 1]."""


class Counted(nn.Module):
    """A model that counts its backward passes, an image each.

    Attributes:
        rows: how many there were.
    """

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self._counted = module
        self.rows = 0

    def forward(self, pixels: Tensor) -> Tensor:
        """As the model."""
        logits: Tensor = self._counted(pixels)
        if logits.requires_grad:
            logits.register_hook(self._count)  # type: ignore[no-untyped-call]
        return logits

    def _count(self, gradient: Tensor) -> None:
        self.rows += len(gradient)


@dataclass(frozen=True, kw_only=True)
class BareModelAttack(Attack):
    """An attack on the bare model that knows when it is done; its result is cut to the budget.

    Attributes:
        iterations: how many steps it takes at most.
    """

    on_bare_model: ClassVar[bool] = True

    rounds: int = 1
    iterations: int = 1000

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.rounds != 1:
            raise AttackError(
                f"{self.name}: rounds are 1, the whole attack; iterations say how long it is."
            )
        self._at_least_one("iterations")

    def _at_least_one(self, *parameters: str) -> None:
        for parameter in parameters:
            if getattr(self, parameter) < 1:
                value = getattr(self, parameter)
                raise AttackError(f"{self.name}: {parameter} is 1 or more, not {value!r}.")

    def _positive(self, *parameters: str) -> None:
        for parameter in parameters:
            value = getattr(self, parameter)
            if not 0 < value < np.inf:
                raise AttackError(f"{self.name}: {parameter} is a positive number, not {value!r}.")

    def with_more_iterations(self, factor: int) -> Self:
        """The same attack with more iterations."""
        return replace(self, iterations=self.iterations * factor)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """The whole attack."""
        surrogate = attacker.gradients_of(self)
        model = Counted(surrogate.module)
        clean = np.stack([case.image for case in cases]).transpose(0, 3, 1, 2)
        goals = np.array([case.goal if self.targeted else case.label for case in cases])
        classes = len(surrogate.manifest.label_names)
        found, spent = self._found(model, np.ascontiguousarray(clean), goals, classes)
        return [
            state.advanced(
                self.budget.project(case.image, np.ascontiguousarray(image.transpose(1, 2, 0))),
                gradients=state.gradients + cost,
            )
            for case, state, image, cost in zip(cases, states, found, spent, strict=True)
        ]

    @abstractmethod
    def _found(
        self, model: Counted, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        """What the attack finds, and how many gradients each image took."""
