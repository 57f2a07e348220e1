"""The first of all attacks, with SciPy's optimiser, because no maintained library has it."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional

from harness.attacks.bare_model import BareModelAttack, Batch, CountingModel


@dataclass(frozen=True, kw_only=True)
class LBfgs(BareModelAttack):
    """L-BFGS-B on the squared l2 of the change plus ``weight`` times the cross-entropy, in [0, 1].

    The search multiplies the weight by ten until the goal is reached, and then bisects. The result
    is the smallest change that reaches the goal, or the last one tried if none does.

    Attributes:
        iterations: the iterations of the optimiser for each weight.
        search_steps: how many weights are tried.
        initial_weight: the first weight.
    """

    name: ClassVar[str] = "l-bfgs"
    summary: ClassVar[str] = "The smallest change by L-BFGS-B, on the undefended model"
    reference: ClassVar[str] = "Szegedy et al. 2014, arXiv:1312.6199"

    search_steps: int = 5
    initial_weight: float = 0.01

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.search_steps >= 1, "search_steps", "1 or more")
        self._require(0 < self.initial_weight < np.inf, "initial_weight", "positive and finite")

    def _find(
        self, model: CountingModel, clean: Batch, goals: NDArray[np.intp], classes: int
    ) -> tuple[Batch, list[int]]:
        del classes
        found, spent = np.empty_like(clean), []
        for index, goal in enumerate(goals):
            before = model.gradients
            found[index] = self._smallest(model, clean[index], int(goal))
            spent.append(model.gradients - before)
        return found, spent

    def _smallest(self, model: CountingModel, clean: Batch, goal: int) -> NDArray[np.float32]:
        best: NDArray[np.float32] | None = None
        image, smallest = clean, np.inf
        weight, too_small, too_large = self.initial_weight, 0.0, np.inf
        for _ in range(self.search_steps):
            image, reached = self._minimum(model, clean, goal, weight)
            size = float(np.square(image - clean).sum())
            if reached and size < smallest:
                best, smallest = image, size
            if reached:
                too_large = weight
            else:
                too_small = weight
            weight = (too_small + too_large) / 2 if too_large < np.inf else weight * 10
        return image if best is None else best

    def _minimum(
        self, model: CountingModel, clean: Batch, goal: int, weight: float
    ) -> tuple[NDArray[np.float32], bool]:
        """Return the best image for one weight, and whether it reaches the goal."""
        from scipy.optimize import Bounds, minimize  # takes a third of a second

        device = next(model.buffers()).device
        original = torch.from_numpy(clean).to(device)[None]
        wanted = torch.tensor([goal], device=device)
        sign = 1 if self.targeted else -1

        def objective(flat: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
            pixels = torch.from_numpy(flat.astype(np.float32)).to(device).view_as(original)
            pixels.requires_grad_()
            value = (pixels - original).square().sum() + weight * sign * functional.cross_entropy(
                model(pixels), wanted
            )
            (gradient,) = torch.autograd.grad(value, pixels)
            return value.item(), gradient.flatten().double().cpu().numpy()

        result: Any = minimize(
            objective,
            clean.ravel().astype(np.float64),
            jac=True,
            method="L-BFGS-B",
            bounds=Bounds(0.0, 1.0),
            options={"maxiter": self.iterations, "maxfun": 2 * self.iterations},
        )
        image = result.x.astype(np.float32).reshape(clean.shape)
        with torch.no_grad():
            predicted = int(model(torch.from_numpy(image).to(device)[None]).argmax())
        return image, (predicted == goal) == self.targeted
