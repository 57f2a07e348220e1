"""The control of the attacks without gradients: random stripes, without a search."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from harness.attacks.attack import Attack, Attacker
from harness.attacks.scores import scores
from harness.attacks.square_proposals import column_stripes
from harness.errors import HiddenProbabilitiesError
from harness.types import Case, Pixels, Posted, State


@dataclass(frozen=True, kw_only=True)
class Stripes(Attack):
    """One random image of vertical stripes, as Square tries first, drawn again in each round.

    Stripes change answers because the model is not robust to them, so what they change is not the
    progress of a search. For an l2 budget they have the same l2.

    Attributes:
        best_of: how many such images are posted, once each. The one with the most wrong answer is
            kept: by its probabilities, or by its class if the endpoint hides them. A single image
            is not posted at all.
        quantized: whether images are posted with 8 bits, as image files have them.
    """

    name: ClassVar[str] = "stripes"
    summary: ClassVar[str] = "Random stripes, without a search: the control of query attacks"
    reference: ClassVar[str] = "Andriushchenko et al. 2020, arXiv:1912.00049, section 3"
    needs_gradients: ClassVar[bool] = False

    rounds: int = 1
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 8 / 255
    targeted: bool = False
    best_of: int = 1
    quantized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.best_of >= 1, "best_of", "1 or more")

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Draw stripes for all photographs, and keep the best ones."""
        generators = [
            attacker.numpy_random(case, state.round + 1)
            for case, state in zip(cases, states, strict=True)
        ]
        best = self._drawn(cases, generators)
        if self.best_of == 1:
            return [state.advanced(image) for state, image in zip(states, best, strict=True)]
        least = self._scores(cases, best, attacker)
        for _ in range(self.best_of - 1):
            images = self._drawn(cases, generators)
            for index, score in enumerate(self._scores(cases, images, attacker)):
                if score < least[index]:
                    best[index], least[index] = images[index], score
        return [
            state.advanced(image, queries=state.queries + self.best_of)
            for state, image in zip(states, best, strict=True)
        ]

    def _drawn(
        self, cases: Sequence[Case], generators: Sequence[np.random.Generator]
    ) -> list[Pixels]:
        return [
            column_stripes(case.image, self.budget, generator)
            for case, generator in zip(cases, generators, strict=True)
        ]

    def _scores(
        self, cases: Sequence[Case], images: Sequence[Pixels], attacker: Attacker
    ) -> list[float]:
        posted: list[Posted] = [
            self.budget.post(case.image, image, quantized=self.quantized)
            for case, image in zip(cases, images, strict=True)
        ]
        try:
            return scores(attacker.victim.probabilities(posted), cases, targeted=self.targeted)
        except HiddenProbabilitiesError:
            answers = attacker.victim.classes(posted).tolist()
            return [
                float(answer != case.goal if self.targeted else answer == case.label)
                for case, answer in zip(cases, answers, strict=True)
            ]
