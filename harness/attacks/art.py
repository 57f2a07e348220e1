"""The attacks of the Adversarial Robustness Toolbox (ART), all on the undefended model.

ART is imported when the first of them runs. That takes seconds, and makes a folder ``~/.art``.
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.attacks.bare_model import BareModelAttack, Batch, CountingModel

_BATCH = {"cpu": 16, "cuda": 128}
"""How many images run through the model at once."""


@dataclass(frozen=True, kw_only=True)
class _ArtAttack(BareModelAttack):
    """An attack that ART makes on a whole batch."""

    def _find(
        self, model: CountingModel, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        """Divide the batch's gradients evenly, because ART does not count them for each image."""
        found: Batch = self._generator(_classifier(model, clean, classes), model).generate(
            clean, goals
        )
        each, more = divmod(model.gradients, len(clean))
        return found, [each + (index < more) for index in range(len(clean))]

    @abstractmethod
    def _generator(self, classifier: Any, model: CountingModel) -> Any:
        """Return ART's attack."""

    def _radius(self, size: float, classifier: Any) -> float:
        """Return a size for ART, whose l2 is the root of the sum of squares, not of their mean."""
        values = float(np.prod(classifier.input_shape))
        return size if self.norm == "linf" else size * float(np.sqrt(values))

    @property
    def _order(self) -> float:
        return np.inf if self.norm == "linf" else 2


@dataclass(frozen=True, kw_only=True)
class Fgsm(_ArtAttack):
    """One step along the sign of the gradient, or for an l2 budget along the gradient.

    The paper has epsilon 0.01 and 0.03. The same attack with more steps is ``i-fgsm``.
    """

    name: ClassVar[str] = "fgsm"
    summary: ClassVar[str] = "One step along the gradient's sign, on the undefended model"
    reference: ClassVar[str] = "Goodfellow et al. 2015, arXiv:1412.6572"

    iterations: int = 1
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.iterations == 1, "iterations", "1 (use i-fgsm for more)")

    def with_more_iterations(self, factor: int) -> Self:
        """Return the attack unchanged, because it has only one step."""
        del factor
        return self

    def _generator(self, classifier: Any, model: CountingModel) -> Any:
        from art.attacks.evasion import FastGradientMethod

        return FastGradientMethod(
            classifier,
            norm=self._order,
            eps=self._radius(self.epsilon, classifier),
            targeted=self.targeted,
            batch_size=_batch_size(model),
        )


@dataclass(frozen=True, kw_only=True)
class IFgsm(_ArtAttack):
    """Small steps along the sign of the gradient, each projected onto the budget.

    Attributes:
        step: the size of a step. The default, 1/255, is for the paper's epsilon of 0.03 (it also
            has 0.01) and its ten iterations: Kurakin et al.'s min(255ε + 4, 1.25 · 255ε).
    """

    name: ClassVar[str] = "i-fgsm"
    summary: ClassVar[str] = "Small steps along the gradient's sign, on the undefended model"
    reference: ClassVar[str] = "Kurakin et al. 2017, arXiv:1607.02533"

    iterations: int = 10
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 0.03
    step: float = 1 / 255

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.step < np.inf, "step", "positive and finite")

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack with another budget, and with its step scaled by the same factor."""
        return replace(self, epsilon=epsilon, step=self.step * epsilon / self.epsilon)

    def _generator(self, classifier: Any, model: CountingModel) -> Any:
        # ART's BasicIterativeMethod is the same attack, but has only the maximum norm.
        from art.attacks.evasion import ProjectedGradientDescent

        return ProjectedGradientDescent(
            classifier,
            norm=self._order,
            eps=self._radius(self.epsilon, classifier),
            eps_step=self._radius(self.step, classifier),
            max_iter=self.iterations,
            targeted=self.targeted,
            batch_size=_batch_size(model),
            verbose=False,
        )


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(_ArtAttack):
    """The smallest change in l2 that reaches the goal, projected onto the budget.

    Attributes:
        search_steps: the steps of the binary search for the weight of the class loss.
        learning_rate: the rate with which ART's line search starts in each iteration.
        initial_weight: the first weight. ART only doubles it. Other implementations start at 0.01
            and multiply by ten; from there, five doublings would end before anything is found.
        confidence: by how much the goal's logit must exceed all others.
    """

    name: ClassVar[str] = "cw"
    summary: ClassVar[str] = "The smallest change in l2, on the undefended model"
    reference: ClassVar[str] = "Carlini and Wagner 2017, arXiv:1608.04644"

    search_steps: int = 5
    learning_rate: float = 0.1
    initial_weight: float = 1.0
    confidence: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.search_steps >= 1, "search_steps", "1 or more")
        self._require(0 < self.learning_rate < np.inf, "learning_rate", "positive and finite")
        self._require(0 < self.initial_weight < np.inf, "initial_weight", "positive and finite")
        self._require(0 <= self.confidence < np.inf, "confidence", "0 or more and finite")

    def _generator(self, classifier: Any, model: CountingModel) -> Any:
        from art.attacks.evasion import CarliniL2Method

        return CarliniL2Method(
            classifier,
            confidence=self.confidence,
            targeted=self.targeted,
            learning_rate=self.learning_rate,
            binary_search_steps=self.search_steps,
            max_iter=self.iterations,
            initial_const=self.initial_weight,
            batch_size=_batch_size(model),
            verbose=False,
        )


@dataclass(frozen=True, kw_only=True)
class DeepFool(BareModelAttack):
    """Steps to the nearest linearised boundary, whichever class is behind it.

    Photographs are attacked one by one, because ART takes the nearest classes of a whole batch. If
    the model already gets a photograph wrong, it is not attacked: ART would leave the wrong class.

    Attributes:
        candidates: how many of the most probable classes are considered.
        overshoot: the fraction by which the change is enlarged. ART's own default, 1e-6, is less
            than ``float32`` and 8-bit images can hold.
    """

    name: ClassVar[str] = "deepfool"
    summary: ClassVar[str] = "To the nearest boundary, on the undefended model; untargeted"
    reference: ClassVar[str] = "Moosavi-Dezfooli et al. 2016, arXiv:1511.04599"

    targeted: bool = False
    iterations: int = 50
    candidates: int = 10
    overshoot: float = 0.02

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(not self.targeted, "targeted", "false (it has no target)")
        self._require(self.candidates >= 2, "candidates", "2 or more")
        self._require(0 < self.overshoot < np.inf, "overshoot", "positive and finite")

    def _find(
        self, model: CountingModel, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        from art.attacks.evasion import DeepFool as ArtDeepFool

        classifier = _classifier(model, clean, classes)
        generator = ArtDeepFool(
            classifier,
            max_iter=self.iterations,
            epsilon=self.overshoot,
            nb_grads=min(self.candidates, classes),
            verbose=False,
        )
        found, spent = clean.copy(), []
        for index, label in enumerate(goals):
            before = model.gradients
            one = clean[index : index + 1]
            if int(classifier.predict(one).argmax()) == label:
                found[index : index + 1] = generator.generate(one)
            spent.append(model.gradients - before)
        return found, spent


def _batch_size(model: nn.Module) -> int:
    return _BATCH[next(model.buffers()).device.type]


def _classifier(model: CountingModel, clean: Batch, classes: int) -> Any:
    """Wrap a model for ART."""
    from art.estimators.classification import PyTorchClassifier

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        """ART's classifier, but with one backward pass instead of one for each class of a batch."""

        def class_gradient(self, x: Batch, label: Any = None, **options: Any) -> Batch:
            if label is None or np.ndim(label) == 0:
                gradient: Batch = super().class_gradient(x, label, **options)
                return gradient
            pixels = torch.from_numpy(x).to(self.device).requires_grad_()
            wanted = torch.as_tensor(np.asarray(label), device=self.device)
            logits = model(pixels).gather(1, wanted[:, None])
            (by_pixel,) = torch.autograd.grad(logits.sum(), pixels)
            return by_pixel[:, None].cpu().numpy()

    return Classifier(
        model,
        nn.CrossEntropyLoss(),
        clean.shape[1:],
        classes,
        clip_values=(0.0, 1.0),
        device_type="gpu" if next(model.buffers()).is_cuda else "cpu",
    )
