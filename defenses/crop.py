"""Random cropping and rescaling (Guo et al. 2018, arXiv 1711.00117)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2

from defenses.bilinear import Tap, bilinear_taps, transposed
from defenses.operation import Draw, Gradient, Image, Operation, image_size


@dataclass(frozen=True)
class CropDraw(Draw):
    """The size and the offset of the crop, both as (vertical, horizontal) in px."""

    size: tuple[int, int]
    offset: tuple[int, int]


@dataclass(frozen=True)
class RandomCrop(Operation[CropDraw]):
    """Cut out a rectangle at a uniform place, and enlarge it to the image's size (bilinear).

    Guo et al. average 30 crops of 90x90 px out of 224x224, a fraction of 0.4. A single crop of that
    size costs the classifier too much accuracy, so the default is 0.8. Several draws are averaged.

    >>> RandomCrop().sample(Random(0), (299, 299)).size
    (239, 239)

    Attributes:
        fraction: the part of the height and of the width that is kept, in (0, 1]; at least 1 px.
    """

    name: ClassVar[str] = "crop"
    summary: ClassVar[str] = "Random cropping and rescaling"
    reference: ClassVar[str] = "Guo et al. 2018, arXiv:1711.00117"

    fraction: int | float = 0.8

    def __post_init__(self) -> None:
        self._require_number("fraction", 0, 1, above=True)

    @property
    def random(self) -> bool:
        """Return False only if nothing is cut off."""
        return self.fraction < 1

    def sample(self, rng: Random, shape: tuple[int, ...]) -> CropDraw:
        """Draw the offset; see :class:`Operation`."""
        height, width = image_size(shape)
        size = (max(1, round(height * self.fraction)), max(1, round(width * self.fraction)))
        offset = (rng.randint(0, height - size[0]), rng.randint(0, width - size[1]))
        return CropDraw(shape=(height, width), size=size, offset=offset)

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 4 bytes for each pixel; see :class:`Operation`."""
        return 4 * shape[0] * shape[1]

    def _apply(self, image: Image, params: CropDraw) -> Image:
        height, width = params.shape
        top, left = params.offset
        crop = image[top : top + params.size[0], left : left + params.size[1]]
        resized = cv2.resize(crop, (width, height), interpolation=cv2.INTER_LINEAR)
        return resized.astype(image.dtype, copy=False)

    def _vjp(self, grad: Gradient, params: CropDraw) -> Gradient:
        """Apply the exact transpose of crop and resize (for ``float32``), axis by axis."""
        for axis in (0, 1):
            size = params.shape[axis]
            taps = _taps(size, params.size[axis], params.offset[axis])
            grad = transposed(grad, taps, size, axis)
        return grad


def _taps(size: int, cropped: int, offset: int) -> tuple[Tap, Tap]:
    """Return source positions and weights, ``(size,)``, of crop and resize along one axis."""
    lower, upper = bilinear_taps(size, cropped)
    return (lower[0] + offset, lower[1]), (upper[0] + offset, upper[1])
