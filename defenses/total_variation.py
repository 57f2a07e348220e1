"""Total-variation minimisation from a random part of the values (Guo et al. 2018)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses.draws import kept_values
from defenses.levels import from_unit, to_unit
from defenses.operation import Draw, Gradient, Image, Operation, image_size

Plane = NDArray[np.float32]
"""``(H, W)``, one channel, which fits the cache, unlike three channels."""

PENALTY = 2
"""The ratio of the split's penalty to the weight of the data term, as in the published code."""


@dataclass(frozen=True, eq=False)
class TotalVariationDraw(Draw):
    """The mask of the values that are kept, ``(H, W, 3)``."""

    kept: NDArray[np.bool_]


@dataclass(frozen=True)
class TotalVariationMinimization(Operation[TotalVariationDraw]):
    """Drop values at random, and rebuild the image of least total variation that fits the rest.

    Split Bregman (Goldstein & Osher 2009) minimises over z, for each channel, ½·Σ(z - x)² over the
    kept values + ``weight``·TV(z), with isotropic TV. As in the published code, each value is
    independently kept or dropped, and a dropped value has no data term, so only the total variation
    fills it in. Unlike the published code, the shrinkage is exact, the start is a Gaussian mean of
    the kept neighbours, and the number of rounds is fixed; ten rounds come closer to the minimum
    than the published stopping rule.

    Attributes:
        keep: the probability that a value is kept, in [0.01, 1].
        weight: the weight of the total variation, in [0.0001, 1].
        rounds: the number of rounds of split Bregman, each with one red-black sweep, 1…1,000.
    """

    name: ClassVar[str] = "tvm"
    summary: ClassVar[str] = "Total-variation minimisation on a random half of the values"
    reference: ClassVar[str] = "Guo et al. 2018, arXiv:1711.00117"

    keep: int | float = 0.5
    weight: int | float = 0.03
    rounds: int = 10

    def __post_init__(self) -> None:
        self._require_number("keep", 0.01, 1)
        self._require_number("weight", 1e-4, 1)
        self._require_whole("rounds", 1, 1_000)

    @property
    def random(self) -> bool:
        """Return False only if every value is kept."""
        return self.keep < 1

    def sample(self, rng: Random, shape: tuple[int, ...]) -> TotalVariationDraw:
        """Draw the values to keep; see :class:`Operation`."""
        size = image_size(shape)
        return TotalVariationDraw(shape=size, kept=kept_values(rng, size, self.keep))

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 152 bytes for each pixel; see :class:`Operation`."""
        return 152 * shape[0] * shape[1]

    def draw_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of the mask; see :class:`Operation`."""
        return 3 * shape[0] * shape[1]

    def _apply(self, image: Image, params: TotalVariationDraw) -> Image:
        values, kept = to_unit(image), params.kept.astype(np.float32)
        start = np.where(params.kept, values, _local_mean(values, kept))
        rebuilt = np.empty_like(values)
        for channel in range(3):
            rebuilt[..., channel] = minimise(
                values[..., channel].copy(),
                kept[..., channel].copy(),
                start[..., channel].copy(),
                fidelity=1 / self.weight,
                rounds=self.rounds,
            )
        return from_unit(rebuilt, image.dtype)

    def _vjp(self, grad: Gradient, params: TotalVariationDraw) -> Gradient:
        """Pass the gradient through where a value was kept; elsewhere it is exactly zero."""
        return grad * params.kept


def minimise(values: Plane, kept: Plane, start: Plane, fidelity: float, rounds: int) -> Plane:
    """Minimise TV(z) + fidelity / 2 · Σ kept·(z - values)² by split Bregman.

    Args:
        values: the channel of the image.
        kept: 1 where a value is kept, 0 where it is dropped.
        start: the first z.
        fidelity: the weight of the data term.
        rounds: the number of updates of z (over both colours of a chequerboard) and of the split
            gradient.

    Returns:
        z, a new array.
    """
    penalty = np.float32(PENALTY * fidelity)
    weights = np.float32(fidelity) * kept
    scale = 1 / (weights + penalty * _neighbours(np.ones_like(values)))
    constant = weights * values * scale
    scale *= penalty
    rows, columns = np.arange(values.shape[0]), np.arange(values.shape[1])
    red = ((rows[:, None] + columns) % 2).astype(np.float32)
    black = 1 - red
    # For each colour: the mask of the other colour, and the factor and constant of the update,
    # which are 0 on the other colour.
    colours = [
        (other, scale * colour, constant * colour) for colour, other in ((red, black), (black, red))
    ]

    z = start.copy()
    across, down = np.zeros_like(z), np.zeros_like(z)  # the Bregman variables
    source = np.zeros_like(z)  # divergence of (Bregman variable - split gradient)
    for _ in range(rounds):
        for stays, factor, offset in colours:
            update = _neighbours(z)
            update += source
            update *= factor
            update += offset
            z *= stays
            z += update
        across[:, :-1] += z[:, 1:] - z[:, :-1]
        down[:-1] += z[1:] - z[:-1]
        # The part of a vector beyond a length of 1 / penalty is the split gradient, and the rest is
        # the next Bregman variable. The vector times 2 * share - 1 is the rest less the part.
        norm = np.sqrt(across * across + down * down)
        share = 1 / np.maximum(penalty * norm, 1)
        difference = 2 * share - 1
        towards_right, towards_bottom = across * difference, down * difference
        np.add(towards_right, towards_bottom, out=source)
        source[:, 1:] -= towards_right[:, :-1]
        source[1:] -= towards_bottom[:-1]
        across *= share
        down *= share
    return z


def _neighbours(z: Plane) -> Plane:
    """Sum the up to four neighbours of each value."""
    total = np.empty_like(z)
    np.add(z[:-2], z[2:], out=total[1:-1])
    total[0], total[-1] = z[1], z[-2]
    total[:, 1:] += z[:, :-1]
    total[:, :-1] += z[:, 1:]
    return total


def _local_mean(values: NDArray[np.float32], kept: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a Gaussian mean of the kept values in 5x5 px, or of all where none is; (H, W, 3)."""
    known = values * kept
    overall = known.sum((0, 1)) / np.maximum(kept.sum((0, 1)), 1)
    trace = np.float32(1e-6)
    near = cv2.GaussianBlur(known, (5, 5), 1) + trace * overall
    share = cv2.GaussianBlur(kept, (5, 5), 1) + trace
    mean: NDArray[np.float32] = (near / share).astype(np.float32, copy=False)
    return mean
