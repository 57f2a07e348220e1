"""ART's projected gradient descent through the whole defence: the exact attack, made twice.

Its loss, its average over draws (EOT), its gradient, its step and its norms are ART's. It shares
with ``adaptive`` what both attack: the model in PyTorch, and the gradients of the defence.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from harness.attacks.attack import Attack, Attacker
from harness.surrogate.surrogate import Surrogate
from harness.types import Case, Pixels, State
from warpguard.torch import defend

_Batch = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Pgd(Attack):
    """One iteration of ART's attack in each round, projected onto the budget around the photograph.

    If this attack and ``adaptive`` agree, neither result is due to a fault of one implementation.

    Attributes:
        step: the size of a step: its root mean square for l2, the change of each value for l∞.
        draws: over how many draws of the defence a gradient is averaged (EOT).
    """

    name: ClassVar[str] = "pgd"
    summary: ClassVar[str] = "ART's PGD with EOT through the whole defence: a check of adaptive"
    reference: ClassVar[str] = "Madry et al. 2018, arXiv:1706.06083"

    step: float = 0.004
    draws: int = 10

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.step < np.inf, "step", "positive and finite")
        self._require(self.draws >= 1, "draws", "1 or more")

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack with another budget, and with its step scaled by the same factor."""
        return replace(self, epsilon=epsilon, step=self.step * epsilon / self.epsilon)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Make one step on each photograph, one after the other."""
        surrogate = attacker.surrogate_for(self)
        draws = self.draws if surrogate.is_random("exact") else 1
        after = []
        for case, state in zip(cases, states, strict=True):
            classifier = _classifier(
                surrogate, attacker.random(case, state.round + 1), draws, case.image
            )
            moved = self._moved(classifier, case, state.adversarial)
            after.append(
                state.advanced(
                    self.budget.project(case.image, moved),
                    gradients=state.gradients + draws,
                    zero_gradients=state.zero_gradients + classifier.zero,
                    nonfinite_gradients=state.nonfinite_gradients + classifier.nonfinite,
                )
            )
        return after

    def _moved(self, classifier: Any, case: Case, image: Pixels) -> Pixels:
        from art.attacks.evasion import ProjectedGradientDescent

        linear = self.norm == "linf"
        # ART's l2 is the root of the sum of squares, not of their mean.
        step = self.step if linear else self.step * float(np.sqrt(image.size))
        attack = ProjectedGradientDescent(
            classifier,
            norm=np.inf if linear else 2,
            eps=2 * step,  # around the iterate; the budget is around the photograph
            eps_step=step,
            max_iter=1,
            targeted=self.targeted,
            batch_size=1,
            verbose=False,
        )
        goal = np.array([case.goal if self.targeted else case.label])
        found: _Batch = attack.generate(np.ascontiguousarray(image.transpose(2, 0, 1))[None], goal)
        return np.ascontiguousarray(found[0].transpose(1, 2, 0))


def _classifier(surrogate: Surrogate, random: Random, draws: int, image: Pixels) -> Any:
    """Return the model behind the defence as ART's classifier, for one step on one photograph."""
    from art.estimators.classification import PyTorchClassifier
    from art.preprocessing.expectation_over_transformation.pytorch import EoTPyTorch

    defense = surrogate.defense

    class Defended(EoTPyTorch):  # type: ignore[misc]
        """The defence as a transformation over whose draws ART takes the expectation."""

        def _transform(self, x: Tensor, y: Any, **_: Any) -> tuple[Tensor, Any]:
            draw = defense.sample(random, image.shape)
            return defend(x, defense, [draw]), y

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        """ART's classifier, which also counts gradients that are of no use."""

        zero, nonfinite = 0, 0

        def loss_gradient(self, x: Any, y: Any, **options: Any) -> Any:
            gradient = super().loss_gradient(x, y, **options)
            finite = bool(torch.isfinite(gradient).all())
            self.nonfinite += not finite
            self.zero += finite and not bool(gradient.any())
            return gradient

        def predict(self, x: _Batch, *_: Any, **__: Any) -> _Batch:
            """Return nothing of use: ART would only log how many images succeed after a step."""
            return np.zeros((len(x), self.nb_classes), np.float32)

    return Classifier(
        surrogate.module,
        nn.CrossEntropyLoss(),
        (3, *image.shape[:2]),
        len(surrogate.manifest.label_names),
        clip_values=(0.0, 1.0),
        preprocessing_defences=[Defended(draws, (0.0, 1.0))],
        device_type="gpu" if next(surrogate.module.buffers()).is_cuda else "cpu",
    )
