"""The control: noise of the budget's size, which should change nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.attacks.attack import Attack, Attacker, numpy_random
from harness.errors import AttackError
from harness.types import Case, Pixels, State


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """Noise that knows neither the model nor the class, afresh in each round.

    An attack is worth what it does beyond this one; one that only noise explains is none.

    Attributes:
        kind: ``gaussian`` and ``uniform`` are scaled to the budget's size, ``sign`` moves each
            value by the same amount. Where that leaves [0, 1] it is cut, and so a little smaller.
    """

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "Random noise that fills the budget: the control"
    reference: ClassVar[str] = "Carlini et al. 2019, arXiv:1902.06705, section 3"
    needs_gradients: ClassVar[bool] = False

    rounds: int = 1
    kind: Literal["uniform", "gaussian", "sign"] = "gaussian"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind not in ("uniform", "gaussian", "sign"):
            raise AttackError(
                f"{self.name}: kind is one of uniform, gaussian, sign, not {self.kind!r}."
            )

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Other noise on each photograph."""
        return [
            state.advanced(self._noisy(case, numpy_random(attacker, case, state.round + 1)))
            for case, state in zip(cases, states, strict=True)
        ]

    def _noisy(self, case: Case, generator: np.random.Generator) -> Pixels:
        shape = case.image.shape
        if self.kind == "gaussian":
            drawn = generator.standard_normal(shape)
        elif self.kind == "uniform":
            drawn = generator.uniform(-1, 1, shape)
        else:
            drawn = generator.choice([-1.0, 1.0], shape)
        noise = drawn.astype(np.float32)
        noise *= np.float32(self.epsilon / self.budget.size(noise))
        return self.budget.project(case.image, case.image + noise)
