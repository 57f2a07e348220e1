"""The control: random noise of the budget's size, which should not change an answer."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.attacks.attack import Attack, Attacker
from harness.types import Case, Pixels, State


@dataclass(frozen=True, kw_only=True)
class RandomNoise(Attack):
    """Noise that depends neither on the model nor on the class, drawn again in each round.

    An attack shows something only where it succeeds more often than this control.

    Attributes:
        kind: ``gaussian`` and ``uniform`` noise is scaled to the budget's size, ``sign`` changes
            each value by the same amount. Clipping to [0, 1] makes the change a little smaller.
    """

    name: ClassVar[str] = "noise"
    summary: ClassVar[str] = "Random noise that fills the budget: the control"
    reference: ClassVar[str] = "Carlini et al. 2019, arXiv:1902.06705, section 3"
    needs_gradients: ClassVar[bool] = False

    rounds: int = 1
    kind: Literal["uniform", "gaussian", "sign"] = "gaussian"

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Replace the noise on each photograph."""
        return [
            state.advanced(self._noisy(case, attacker.numpy_random(case, state.round + 1)))
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
