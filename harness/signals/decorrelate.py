"""An attacker who optimises against the signal of the scores, with a copy of the model.

The signal compares where the centred logits of two posts point. Its projection is secret, but it
keeps angles, so the attacker needs only the model: each post is changed until its logits point away
from those of all earlier posts. The margin between the label and the best other class is what the
search learns from, so the change keeps it as far as it can.
"""

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from harness.budget import Budget, as_pixels
from harness.signals.disguises import Pixels8
from harness.signals.searches import Search
from harness.signals.traffic import Scene
from harness.surrogate.losses import LOSSES
from harness.surrogate.surrogate import Surrogate
from harness.types import Case

RADIUS = 16 / 255
"""The largest change of a value, besides the change of the search."""
_STEPS = 5
_STEP = 6 / 255
_LOOKS = 2
"""Over how many draws the logits of an image are averaged."""
_SHARPNESS = 10.0
"""How much more the nearest of the earlier posts counts than the others."""
_KEEP_MARGIN = 0.05
"""What a change of the margin by one nat costs, as a cosine."""


@dataclass(frozen=True, kw_only=True)
class Decorrelating(Search):
    """A search whose way of posting takes gradients."""

    needs_gradients: ClassVar[bool] = True


def decorrelated(scene: Scene, case: Case) -> Callable[[Pixels8], Pixels8]:
    """Turn the logits of each post away from those of the earlier ones."""
    surrogate = scene.copy
    assert isinstance(surrogate, Surrogate)  # noqa: S101  # of a kind that needs gradients
    rng = scene.random(f"decorrelated/{case.file}")
    randoms = Random(scene.seed)
    budget = Budget("linf", RADIUS)
    earlier: list[Tensor] = []

    def change(image: Pixels8) -> Pixels8:
        clean = as_pixels(image)
        logits = torch.from_numpy(surrogate.scores([clean] * _LOOKS))
        margin = float(LOSSES["margin"](logits, [case.label] * _LOOKS).mean())

        def loss(logits: Tensor, goals: list[int]) -> Tensor:
            moved = (LOSSES["margin"](logits, goals) - margin).abs() * _KEEP_MARGIN
            if not earlier:
                return moved
            cosines = _directions(logits) @ torch.stack(earlier).T.to(logits.device)
            return moved + torch.logsumexp(_SHARPNESS * cosines, dim=1) / _SHARPNESS

        start = rng.choice([-1.0, 1.0], clean.shape).astype(np.float32)
        pixels = budget.project(clean, clean + np.float32(RADIUS) * start)
        for _ in range(_STEPS):
            found = surrogate.gradients([pixels], [case.label], [randoms], loss=loss)
            step = np.float32(_STEP) * np.sign(found.values[0])
            pixels = budget.project(clean, pixels - step)
        posted = budget.post(clean, pixels, quantized=True).astype(np.uint8)
        logits = torch.from_numpy(surrogate.scores([posted] * _LOOKS))
        earlier.append(functional.normalize(_directions(logits).mean(dim=0), dim=0))
        return posted

    return change


def _directions(logits: Tensor) -> Tensor:
    """Return where ``(n, classes)`` centred logits point, each row of length 1."""
    return functional.normalize(logits - logits.mean(dim=1, keepdim=True), dim=1)
