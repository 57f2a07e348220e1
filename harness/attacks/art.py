"""The attacks of the Adversarial Robustness Toolbox (ART), all on the undefended model.

ART is imported when the first of them runs: that takes seconds (and makes a folder ``~/.art``).
"""

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from harness.attacks.bare_model import BareModelAttack, Batch, Counted
from harness.errors import AttackError

_ROWS = {"cpu": 16, "cuda": 128}
"""How many images go through the model at once."""


@dataclass(frozen=True, kw_only=True)
class _ArtAttack(BareModelAttack):
    """What ART attacks as one batch."""

    def _found(
        self, model: Counted, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        """A batch's gradients are shared evenly: ART does not say which image each was of."""
        found: Batch = self._generator(_classifier(model, clean, classes), model).generate(
            clean, goals
        )
        each, more = divmod(model.rows, len(clean))
        return found, [each + (index < more) for index in range(len(clean))]

    @abstractmethod
    def _generator(self, classifier: Any, model: Counted) -> Any:
        """ART's attack."""

    def _radius(self, size: float, classifier: Any) -> float:
        """A budget's size as ART has it: its l2 is the root of the sum, not of the mean."""
        values = float(np.prod(classifier.input_shape))
        return size if self.norm == "linf" else size * float(np.sqrt(values))

    @property
    def _order(self) -> float:
        return np.inf if self.norm == "linf" else 2


@dataclass(frozen=True, kw_only=True)
class Fgsm(_ArtAttack):
    """One step along the sign of the gradient (for an l2 budget, along the gradient).

    The paper has epsilon 0.01 and 0.03. There is nothing to prolong: that is ``i-fgsm``.
    """

    name: ClassVar[str] = "fgsm"
    summary: ClassVar[str] = "One step along the gradient's sign, on the undefended model"
    reference: ClassVar[str] = "Goodfellow et al. 2015, arXiv:1412.6572"

    iterations: int = 1
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.iterations != 1:
            raise AttackError(f"{self.name}: iterations are 1; i-fgsm takes more.")

    def with_more_iterations(self, factor: int) -> Self:
        """Itself."""
        del factor
        return self

    def _generator(self, classifier: Any, model: Counted) -> Any:
        from art.attacks.evasion import FastGradientMethod

        return FastGradientMethod(
            classifier,
            norm=self._order,
            eps=self._radius(self.epsilon, classifier),
            targeted=self.targeted,
            batch_size=_rows(model),
        )


@dataclass(frozen=True, kw_only=True)
class IFgsm(_ArtAttack):
    """The same in small steps, each projected on the budget.

    Attributes:
        step: how long each is: by default 1/255 for the paper's epsilon of 0.03 (it also has 0.01)
            and its ten iterations, which are Kurakin et al.'s min(255ε + 4, 1.25 · 255ε).
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
        self._positive("step")

    def with_epsilon(self, epsilon: float) -> Self:
        """Another budget, and steps in proportion."""
        return replace(self, epsilon=epsilon, step=self.step * epsilon / self.epsilon)

    def _generator(self, classifier: Any, model: Counted) -> Any:
        # ART's BasicIterativeMethod is this one, but for the maximum norm alone.
        from art.attacks.evasion import ProjectedGradientDescent

        return ProjectedGradientDescent(
            classifier,
            norm=self._order,
            eps=self._radius(self.epsilon, classifier),
            eps_step=self._radius(self.step, classifier),
            max_iter=self.iterations,
            targeted=self.targeted,
            batch_size=_rows(model),
            verbose=False,
        )


@dataclass(frozen=True, kw_only=True)
class CarliniWagner(_ArtAttack):
    """The smallest change in l2 that reaches the goal; cut to the budget where it is larger.

    Attributes:
        search_steps: of the binary search for the weight of the class.
        learning_rate: ART's line search begins each iteration with it.
        initial_weight: the first such weight. ART only ever doubles it, so that from the 0.01 of
            other implementations, which multiply by ten, five steps end before anything is found.
        confidence: how far the goal's logit is to be ahead.
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
        self._at_least_one("search_steps")
        self._positive("learning_rate", "initial_weight")
        if not 0 <= self.confidence < np.inf:
            raise AttackError(f"{self.name}: confidence is 0 or more, not {self.confidence!r}.")

    def _generator(self, classifier: Any, model: Counted) -> Any:
        from art.attacks.evasion import CarliniL2Method

        return CarliniL2Method(
            classifier,
            confidence=self.confidence,
            targeted=self.targeted,
            learning_rate=self.learning_rate,
            binary_search_steps=self.search_steps,
            max_iter=self.iterations,
            initial_const=self.initial_weight,
            batch_size=_rows(model),
            verbose=False,
        )


@dataclass(frozen=True, kw_only=True)
class DeepFool(BareModelAttack):
    """Steps to the nearest of the linearised boundaries, whichever class is behind it.

    One photograph at a time, as ART would else take the nearest classes of the whole batch. One
    that the model already gets wrong is left as it is: ART would lead it away from that class.

    Attributes:
        candidates: how many of the most probable classes are looked at.
        overshoot: by what share the change is enlarged (ART's own default, 1e-6, is less than
            ``float32`` and 8-bit images can hold).
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
        if self.targeted:
            raise AttackError(f"{self.name} has no target; targeted is false.")
        if self.candidates < 2:
            raise AttackError(f"{self.name}: candidates are 2 or more, not {self.candidates!r}.")
        self._positive("overshoot")

    def _found(
        self, model: Counted, clean: Batch, goals: NDArray[np.intp], classes: int
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
            before = model.rows
            one = clean[index : index + 1]
            if int(classifier.predict(one).argmax()) == label:
                found[index : index + 1] = generator.generate(one)
            spent.append(model.rows - before)
        return found, spent


def _rows(model: nn.Module) -> int:
    return _ROWS[next(model.buffers()).device.type]


def _classifier(model: Counted, clean: Batch, classes: int) -> Any:
    """ART's view of a model."""
    from art.estimators.classification import PyTorchClassifier

    class Classifier(PyTorchClassifier):  # type: ignore[misc]
        """With one backward pass where ART has one of the whole batch for each class in it."""

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
