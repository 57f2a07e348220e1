"""The preprocessing of ME-Net, a random mask and matrix estimation (Yang et al. 2019)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from defenses.draws import kept_values
from defenses.levels import from_unit, to_unit
from defenses.operation import Draw, Gradient, Image, Operation, image_size


@dataclass(frozen=True, eq=False)
class MatrixEstimationDraw(Draw):
    """The mask of the values that are kept, ``(H, W, 3)``."""

    kept: NDArray[np.bool_]


@dataclass(frozen=True)
class MatrixEstimation(Operation[MatrixEstimationDraw]):
    """Drop values at random, and rebuild the image as a matrix of low rank.

    This follows the published code with its default choices. The three channels stand side by side
    in one ``(H, 3·W)`` matrix of values in [-1, 1]. Each value is independently kept or set to 0.
    All but the largest singular values are set to 0, and the result is divided by the fraction of
    the values that were kept. The authors name this after the universal singular value thresholding
    of Chatterjee 2015 (arXiv:1212.1247), but keep a fixed fraction of the singular values instead
    of using a threshold. They also train the model on such images, with masks of many rates, which
    warpguard does not do.

    Attributes:
        keep_low: the lowest probability that a value is kept, in [0.01, 1].
        keep_high: the highest, in [keep_low, 1]; each draw uses a probability between the two.
        fraction: the part of the H (or 3·W, if fewer) singular values that stay, in [0.01, 1].
    """

    name: ClassVar[str] = "menet"
    summary: ClassVar[str] = "ME-Net: a random mask, then matrix estimation (USVT)"
    reference: ClassVar[str] = "Yang et al. 2019, arXiv:1905.11971"

    keep_low: int | float = 0.8
    keep_high: int | float = 1.0
    fraction: int | float = 0.8

    def __post_init__(self) -> None:
        self._require_number("keep_low", 0.01, 1)
        self._require_number("keep_high", self.keep_low, 1, note=", from keep_low on")
        self._require_number("fraction", 0.01, 1)

    @property
    def random(self) -> bool:
        """Return False only if every value is always kept."""
        return self.keep_low < 1

    def sample(self, rng: Random, shape: tuple[int, ...]) -> MatrixEstimationDraw:
        """Draw the probability, and with it the values to keep; see :class:`Operation`."""
        size = image_size(shape)
        chance = self.keep_low + (self.keep_high - self.keep_low) * rng.random()
        return MatrixEstimationDraw(shape=size, kept=kept_values(rng, size, chance))

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of the matrix and of its square; see :class:`Operation`."""
        height, width = shape[:2]
        return 50 * height * width + 40 * min(height, 3 * width) ** 2

    def draw_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of the mask; see :class:`Operation`."""
        return 3 * shape[0] * shape[1]

    def _apply(self, image: Image, params: MatrixEstimationDraw) -> Image:
        height, width = params.shape
        centred = (2 * to_unit(image) - 1) * params.kept
        matrix = centred.transpose(0, 2, 1).reshape(height, 3 * width)
        estimate = low_rank(matrix, self.fraction)
        # If no value is kept, the estimate is 0 and any divisor but 0 will do.
        estimate /= 2 * max(float(params.kept.mean()), 1 / params.kept.size)
        estimate += 0.5
        values = estimate.reshape(height, 3, width).transpose(0, 2, 1)
        return from_unit(np.array(values, order="C"), image.dtype)

    def _vjp(self, grad: Gradient, params: MatrixEstimationDraw) -> Gradient:
        """Pass the gradient through where a value was kept; elsewhere it is exactly zero.

        The authors' own attack (BPDA) passes the gradient through everywhere. Averaged over many
        draws, the two differ by little more than a factor, the fraction of the kept values.
        """
        return grad * params.kept


def low_rank(matrix: NDArray[np.float32], fraction: float) -> NDArray[np.float32]:
    """Remove the smaller singular values of a matrix.

    Args:
        matrix: a matrix of any shape (m, n).
        fraction: the part of its min(m, n) singular values that stay, rounded down, at least one.

    Returns:
        A new array of the shape of the matrix.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return low_rank(matrix.T, fraction).T
    # Project on the singular vectors that stay. They are eigenvectors of a small square matrix,
    # whose decomposition takes a fifth of the time of the whole matrix's.
    _, vectors = np.linalg.eigh(matrix @ matrix.T)
    stay = vectors[:, len(vectors) - max(1, int(fraction * len(vectors))) :]
    projected: NDArray[np.float32] = stay @ (stay.T @ matrix)
    return projected
