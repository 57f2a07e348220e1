"""FD, Feature Distillation (Liu et al. 2019, arXiv 1803.05787), as Qiu et al. 2020 use it.

Two matrix products transform a stripe of blocks to its cosine coefficients: one product over the 8
rows of each block, and one over the 8 pixels times 3 channels of each row. A loop over single
blocks is about a hundred times slower.
"""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses.operation import Draw, Image, StraightThrough, image_size
from defenses.specification import format_arguments

BLOCK_PX = 8
PHASE_STRIDE_PX = 2
"""The distance by which each further pass moves the grid; the published code moves the image."""
CHUNK_VALUES = 30_000
"""Values per chunk; the scratch array fits the cache and stays below malloc's mmap threshold."""
TIE_COEFFICIENT = 2.0**-18
"""The fraction by which a coefficient is lowered before it is rounded. Many coefficients of 8-bit
images lie exactly between two steps, because they are sums of pixels over 8. Otherwise the last bit
of such a sum would decide, and with it the order in which a processor adds up."""
TIE_PIXEL = 2.0**-10
"""The part of a level by which a pixel is lowered before it is rounded, for the same reason."""


@dataclass(frozen=True)
class FeatureDistillationDraw(Draw):
    """The phase of the block grid in each pass, (vertical, horizontal) in px."""

    phases: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FeatureDistillation(StraightThrough[FeatureDistillationDraw]):
    """Quantise the block cosine transform, as JPEG does, with the same steps in each channel.

    Each channel of RGB goes through an 8x8 orthonormal DCT-II, division by the step, rounding half
    towards zero, multiplication by the step, the inverse transform, and clipping. A side that is
    not a multiple of 8 is padded by reflection (299: 2 px before, 3 px after) and cropped back to
    its place, so the image does not move.

    On one grid the operation is idempotent up to clipping. Therefore each pass uses another grid,
    and pass j has its grid at phase + 2j px.

    >>> FeatureDistillation(passes=2).sample(Random(), (299, 299)).phases
    ((0, 0), (2, 2))

    Attributes:
        step: the quantisation step, in units of 1/255, in (0, 2048].
        corner_step: the step in the low-frequency corner, in the same units and range.
        corner_size: the side of the low-frequency corner in coefficients, 0…8.
        phase: the phase of the grid in px, 0…7, or "random" for one of 64 phases in each draw.
        passes: how often the operation is applied, 1…4; ``fd*2`` stands for ``fd(passes=2)``.
    """

    name: ClassVar[str] = "fd"
    summary: ClassVar[str] = "Feature Distillation: quantised block cosine transform"
    reference: ClassVar[str] = "Liu et al. 2019, arXiv:1803.05787"

    step: int | float = 30
    corner_step: int | float = 25
    corner_size: int = 4
    phase: int | str = 0
    passes: int = 1

    def __post_init__(self) -> None:
        self._require_number("step", 0, 2048, above=True)
        self._require_number("corner_step", 0, 2048, above=True)
        self._require_whole("corner_size", 0, BLOCK_PX)
        if self.phase != "random":
            self._require_whole("phase", 0, BLOCK_PX - 1, note=", or random")
        distinct = BLOCK_PX // PHASE_STRIDE_PX
        self._require_whole("passes", 1, distinct, note=", because further grids would repeat")

    def __str__(self) -> str:
        """Write the specification, with the passes as a factor."""
        factor = f"*{self.passes}" if self.passes > 1 else ""
        return self.name + format_arguments(self, hidden=frozenset({"passes"})) + factor

    @property
    def random(self) -> bool:
        """Return True only if the phase is random."""
        return self.phase == "random"

    def sample(self, rng: Random, shape: tuple[int, ...]) -> FeatureDistillationDraw:
        """Draw the phase of the grid if it is random; see :class:`Operation`."""
        y, x = (
            (self.phase, self.phase)
            if isinstance(self.phase, int)
            else (rng.randrange(BLOCK_PX), rng.randrange(BLOCK_PX))
        )
        shifts = range(0, PHASE_STRIDE_PX * self.passes, PHASE_STRIDE_PX)
        return FeatureDistillationDraw(
            shape=image_size(shape),
            phases=tuple(((y + shift) % BLOCK_PX, (x + shift) % BLOCK_PX) for shift in shifts),
        )

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 10 bytes for each pixel, or 13 if there are several passes."""
        return (10 if self.passes == 1 else 13) * shape[0] * shape[1]

    def _apply(self, image: Image, params: FeatureDistillationDraw) -> Image:
        for phase in params.phases:
            image = self._distil(image, phase)
        return image

    def _distil(self, image: Image, phase: tuple[int, int]) -> Image:
        height, width = image.shape[:2]
        top, bottom = _padding(height, phase[0])
        left, right = _padding(width, phase[1])
        padded = cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_REFLECT_101)
        row_values = 3 * padded.shape[1]
        stripes = padded.reshape(-1, BLOCK_PX, row_values)
        out = np.empty_like(stripes)

        peak = 255.0 if image.dtype == np.uint8 else 1.0
        steps = self._steps(row_values) * np.float32(peak / 255)
        inverse_steps = np.float32(1 - TIE_COEFFICIENT) / steps
        chunk = max(1, CHUNK_VALUES // (BLOCK_PX * row_values))
        for start in range(0, len(stripes), chunk):
            stripe = stripes[start : start + chunk].astype(np.float32, copy=False)
            # Matrices of (blocks of a stripe x rows, 24) keep each product below the size from
            # which BLAS starts its own threads.
            by_row = (len(stripe), row_values // 3, 3 * BLOCK_PX)
            vertical = DCT @ stripe
            coefficients = (vertical.reshape(by_row) @ ROW_DCT).reshape(stripe.shape)
            coefficients *= inverse_steps
            np.rint(coefficients, out=coefficients)
            coefficients *= steps
            np.matmul(DCT.T, coefficients, out=vertical)
            pixels = np.matmul(
                vertical.reshape(by_row), ROW_DCT.T, out=coefficients.reshape(by_row)
            )
            if image.dtype == np.uint8:  # the conversion to uint8 rounds down
                pixels += np.float32(0.5 - TIE_PIXEL)
            np.clip(pixels, 0, peak, out=pixels)
            out[start : start + chunk] = pixels.reshape(stripe.shape)
        restored = out.reshape(padded.shape)[top : top + height, left : left + width]
        return np.ascontiguousarray(restored)

    def _steps(self, row_values: int) -> NDArray[np.float32]:
        """Return the steps for the coefficients of a stripe, ``(8, row_values)``."""
        block = np.full((BLOCK_PX, BLOCK_PX), self.step, np.float32)
        block[: self.corner_size, : self.corner_size] = self.corner_step
        return np.tile(block.repeat(3, axis=1), row_values // (3 * BLOCK_PX))


def _padding(size: int, phase: int) -> tuple[int, int]:
    """Return how many px to add before and after, so that blocks at a phase fill the side."""
    before = ((-size % BLOCK_PX) // 2 + phase) % BLOCK_PX
    return before, -(size + before) % BLOCK_PX


def _dct_matrix() -> NDArray[np.float32]:
    """Return the orthonormal DCT-II of 8 values, ``coefficients = matrix @ values``."""
    k = np.arange(BLOCK_PX)
    matrix = np.sqrt(2 / BLOCK_PX) * np.cos(np.pi * k[:, None] * (2 * k + 1) / (2 * BLOCK_PX))
    matrix[0] /= np.sqrt(2)
    result: NDArray[np.float32] = matrix.astype(np.float32)
    return result


DCT = _dct_matrix()
ROW_DCT = np.kron(DCT.T, np.eye(3, dtype=np.float32))
"""The DCT of 8 neighbouring RGB pixels in one product, ``coefficients = values @ matrix``."""
