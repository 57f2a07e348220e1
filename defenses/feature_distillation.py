"""FD, Feature Distillation (Liu et al. 2019, arXiv 1803.05787), as Qiu et al. 2020 use it.

Two matrix products take a stripe of blocks to its cosine coefficients: one over the 8 rows of each
block, one over 8 pixels times 3 channels of each row. A loop over single blocks is about a hundred
times slower.
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
"""How far each further pass moves the grid: what the published code does by shifting the image."""
CHUNK_VALUES = 30_000
"""Values transformed at once: the scratch stays in the cache, and below malloc's mmap threshold."""


@dataclass(frozen=True)
class FeatureDistillationDraw(Draw):
    """The block grid's phase for each pass, (vertical, horizontal) in px."""

    phases: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class FeatureDistillation(StraightThrough[FeatureDistillationDraw]):
    """Quantise the block cosine transform, as JPEG does, with one step for each channel.

    On each channel of RGB: 8x8 orthonormal DCT-II, division by the step, rounding half to even,
    multiplication, inverse transform, clipping. A side that is no multiple of 8 is padded by
    reflection (299: 2 px before, 3 px after) and cropped back aligned, so nothing moves.

    On one grid the operation is idempotent up to clipping, so ``passes`` after the first use other
    grids: pass j lies at phase + 2j px.

    Attributes:
        step: the quantisation step, in units of 1/255, in (0, 2048].
        corner_step: the step in the low-frequency corner, likewise.
        corner_size: that corner's side in coefficients, 0…8.
        phase: the grid's phase in px, 0…7, or "random" for a fresh one of 64 each time.
        passes: how often it is applied, 1…4; ``fd*2`` is short for ``fd(passes=2)``.
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
        """The specification, with the passes as a factor."""
        factor = f"*{self.passes}" if self.passes > 1 else ""
        return self.name + format_arguments(self, hidden=frozenset({"passes"})) + factor

    @property
    def random(self) -> bool:
        """Only with a random phase."""
        return self.phase == "random"

    def sample(self, rng: Random, shape: tuple[int, ...]) -> FeatureDistillationDraw:
        """Draw the grid's phase, where it is random; see :class:`Operation`."""
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
        inverse_steps = 1 / steps
        chunk = max(1, CHUNK_VALUES // (BLOCK_PX * row_values))
        for start in range(0, len(stripes), chunk):
            stripe = stripes[start : start + chunk].astype(np.float32, copy=False)
            # (blocks of a stripe x rows, 24) keeps each product below the size at which BLAS
            # starts threads of its own.
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
            if image.dtype == np.uint8:
                np.rint(pixels, out=pixels)
            np.clip(pixels, 0, peak, out=pixels)
            out[start : start + chunk] = pixels.reshape(stripe.shape)
        restored = out.reshape(padded.shape)[top : top + height, left : left + width]
        return np.ascontiguousarray(restored)

    def _steps(self, row_values: int) -> NDArray[np.float32]:
        """The steps of a stripe's coefficients, ``(8, row_values)``."""
        block = np.full((BLOCK_PX, BLOCK_PX), self.step, np.float32)
        block[: self.corner_size, : self.corner_size] = self.corner_step
        return np.tile(block.repeat(3, axis=1), row_values // (3 * BLOCK_PX))


def _padding(size: int, phase: int) -> tuple[int, int]:
    """Pixels to add before and after, so that blocks fill the side with the grid at a phase."""
    before = ((-size % BLOCK_PX) // 2 + phase) % BLOCK_PX
    return before, -(size + before) % BLOCK_PX


def _dct_matrix() -> NDArray[np.float32]:
    """The orthonormal DCT-II of 8 values: ``coefficients = matrix @ values``."""
    k = np.arange(BLOCK_PX)
    matrix = np.sqrt(2 / BLOCK_PX) * np.cos(np.pi * k[:, None] * (2 * k + 1) / (2 * BLOCK_PX))
    matrix[0] /= np.sqrt(2)
    result: NDArray[np.float32] = matrix.astype(np.float32)
    return result


DCT = _dct_matrix()
ROW_DCT = np.kron(DCT.T, np.eye(3, dtype=np.float32))
"""The DCT of 8 neighbouring RGB pixels as one product: ``coefficients = values @ matrix``."""
