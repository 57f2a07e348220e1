"""JPEG compression (Guo et al. 2018, arXiv 1711.00117)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses.levels import from_levels, to_levels
from defenses.operation import Draw, Image, ImageError, StraightThrough, image_size

MAX_SIDE_PX = 65_500
"""The limit of the codec."""
SUBSAMPLING = {
    411: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
    420: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    422: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    440: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    444: cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
}
"""The chroma subsamplings of the codec; 444 does not subsample, and 420 is the default."""


@dataclass(frozen=True)
class JpegCompression(StraightThrough[Draw]):
    """Compress an image as JPEG and decode it, both with OpenCV's codec.

    A ``float32`` image is first rounded to 8 bits, and the result is ``float32`` again.

    Attributes:
        quality: the quality of the codec, 1…100 (the codec treats 0 as 1).
        subsampling: the chroma subsampling, 411, 420, 422, 440 or 444.
    """

    name: ClassVar[str] = "jpeg"
    summary: ClassVar[str] = "JPEG compression"
    reference: ClassVar[str] = "Guo et al. 2018, arXiv:1711.00117"

    quality: int = 75
    subsampling: int = 420

    def __post_init__(self) -> None:
        self._require_whole("quality", 1, 100)
        known = isinstance(self.subsampling, int) and self.subsampling in SUBSAMPLING
        self._require(known, "subsampling", f"one of {', '.join(map(str, SUBSAMPLING))}")

    @property
    def random(self) -> bool:
        """Return False, because the operation draws nothing."""
        return False

    def sample(self, rng: Random, shape: tuple[int, ...]) -> Draw:
        """Draw nothing; see :class:`Operation`. A side over 65,500 px raises an ImageError."""
        del rng
        return Draw(shape=codec_size(shape))

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 16 bytes for each pixel; see :class:`Operation`."""
        return 16 * shape[0] * shape[1]

    def _apply(self, image: Image, params: Draw) -> Image:
        del params
        bgr = cv2.cvtColor(to_levels(image), cv2.COLOR_RGB2BGR).view(np.uint8)
        return from_levels(compress(bgr, self.quality, self.subsampling), image.dtype)


def codec_size(shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the (height, width) of an image's shape.

    Raises:
        ImageError: a side is shorter than 8 px, or longer than the codec's 65,500 px.
    """
    height, width = image_size(shape)
    if max(height, width) > MAX_SIDE_PX:
        raise ImageError(f"A JPEG has at most {MAX_SIDE_PX} px on a side, not {shape}.")
    return height, width


def compress(bgr: NDArray[np.uint8], quality: int, subsampling: int = 420) -> NDArray[np.uint8]:
    """Compress BGR and decode to RGB.

    Args:
        bgr: ``(H, W, 3)`` in the codec's order of channels.
        quality: 1…100.
        subsampling: a key of :data:`SUBSAMPLING`.

    Returns:
        A new RGB array ``(H, W, 3)``.
    """
    settings = [
        *(cv2.IMWRITE_JPEG_QUALITY, quality),
        *(cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SUBSAMPLING[subsampling]),
    ]
    _, encoded = cv2.imencode(".jpg", bgr, settings)
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR_RGB), np.uint8)
