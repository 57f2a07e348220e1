"""Reduction of the bit depth (Xu et al. 2018, arXiv 1704.01155, "feature squeezing")."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np

from defenses.operation import Draw, Image, StraightThrough, image_size


@dataclass(frozen=True)
class BitDepthReduction(StraightThrough[Draw]):
    """Round each value to the nearest of 2^``bits`` levels, which are spaced evenly in [0, 1].

    >>> ramp = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)
    >>> np.unique(BitDepthReduction(bits=2)(ramp, Random()))
    array([  0,  85, 170], dtype=uint8)

    Attributes:
        bits: the depth of each channel afterwards, 1…8.
    """

    name: ClassVar[str] = "bitdepth"
    summary: ClassVar[str] = "Bit-depth reduction: rounding to 2^bits levels"
    reference: ClassVar[str] = "Xu et al. 2018, arXiv:1704.01155"

    bits: int = 3

    def __post_init__(self) -> None:
        self._require_whole("bits", 1, 8)

    @property
    def random(self) -> bool:
        """Return False, because the operation draws nothing."""
        return False

    def sample(self, rng: Random, shape: tuple[int, ...]) -> Draw:
        """Draw nothing; see :class:`Operation`."""
        del rng
        return Draw(shape=image_size(shape))

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 4 bytes for each pixel; see :class:`Operation`."""
        return 4 * shape[0] * shape[1]

    def _apply(self, image: Image, params: Draw) -> Image:
        del params
        steps = np.float32(2**self.bits - 1)
        if image.dtype == np.uint8:
            table = np.rint(np.rint(np.arange(256) / 255 * steps) / steps * 255)
            return cv2.LUT(image, table.astype(np.uint8)).view(np.uint8)
        reduced = image * steps
        np.rint(reduced, out=reduced)
        reduced /= steps
        return reduced
