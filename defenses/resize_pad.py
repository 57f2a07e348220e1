"""Rand, random resizing and padding (Xie et al. 2018), in the form of Qiu et al. 2020."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np

from defenses.bilinear import Tap, bilinear_taps, transposed
from defenses.index_maps import IndexMap, gather
from defenses.operation import Draw, Gradient, Image, Operation, image_size

REFERENCE_SIDE_PX = 299
"""The side for which the paper gives its sizes; for other sides the sizes scale."""


@dataclass(frozen=True)
class ResizePadDraw(Draw):
    """The sizes and the offset on the canvas, all as (vertical, horizontal) in px."""

    resized: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]


@dataclass(frozen=True)
class RandomResizePad(Operation[ResizePadDraw]):
    """Enlarge the image by a random factor, place it on a canvas at random, and shrink it back.

    The image is resized to r px (nearest neighbour; r uniform on 299…``largest``) and put at a
    uniform offset on a square canvas of ``canvas`` px. Then the canvas is resized to the size of
    the image (bilinear). If the image is not square, both axes have the same factor.

    >>> RandomResizePad().sample(Random(0), (598, 299)).canvas
    (800, 400)

    Attributes:
        largest: the largest r, for an image with a side of 299 px.
        canvas: the side of the canvas in px, for an image with a side of 299 px.
        value: the value of the canvas around the image, in [0, 1].
    """

    name: ClassVar[str] = "rand"
    summary: ClassVar[str] = "Random resizing and padding"
    reference: ClassVar[str] = "Xie et al. 2018, arXiv:1711.01991"

    largest: int = 330
    canvas: int = 400
    value: int | float = 0.5

    def __post_init__(self) -> None:
        most = 4 * REFERENCE_SIDE_PX
        self._require_whole("largest", REFERENCE_SIDE_PX, most, what="a whole number of px")
        self._require_whole("canvas", self.largest, most, what="a whole number of px")
        self._require_number("value", 0, 1)

    @property
    def random(self) -> bool:
        """Return False only if neither the size nor the offset can vary."""
        return self.canvas > REFERENCE_SIDE_PX

    def sample(self, rng: Random, shape: tuple[int, ...]) -> ResizePadDraw:
        """Draw the size and the offset; see :class:`Operation`."""
        height, width = image_size(shape)
        side = max(height, width)
        drawn = rng.randint(side, round(side * self.largest / REFERENCE_SIDE_PX))
        canvas_height = round(height * self.canvas / REFERENCE_SIDE_PX)
        canvas_width = round(width * self.canvas / REFERENCE_SIDE_PX)
        resized_height = min(round(height * drawn / side), canvas_height)
        resized_width = min(round(width * drawn / side), canvas_width)
        return ResizePadDraw(
            shape=(height, width),
            resized=(resized_height, resized_width),
            offset=(
                rng.randint(0, canvas_height - resized_height),
                rng.randint(0, canvas_width - resized_width),
            ),
            canvas=(canvas_height, canvas_width),
        )

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of the canvas, of the enlarged image and of the result."""
        larger, canvas = self.largest / REFERENCE_SIDE_PX, self.canvas / REFERENCE_SIDE_PX
        return round(3 * (1 + canvas**2 + larger**2 + larger) * shape[0] * shape[1])

    def _apply(self, image: Image, params: ResizePadDraw) -> Image:
        height, width = params.shape
        top, left = params.offset
        resized_height, resized_width = params.resized
        value = round(255 * self.value) if image.dtype == np.uint8 else self.value
        canvas = np.full((*params.canvas, 3), value, image.dtype)
        canvas[top : top + resized_height, left : left + resized_width] = gather(
            image, _nearest(height, resized_height), _nearest(width, resized_width)
        )
        resized = cv2.resize(canvas, (width, height), interpolation=cv2.INTER_LINEAR)
        return resized.astype(image.dtype, copy=False)

    def _vjp(self, grad: Gradient, params: ResizePadDraw) -> Gradient:
        """Apply the exact transpose of resize, pad, resize (for ``float32``), axis by axis."""
        for axis in (0, 1):
            size = params.shape[axis]
            taps = _taps(size, params.resized[axis], params.offset[axis], params.canvas[axis])
            grad = transposed(grad, taps, size, axis)
        return grad


def _nearest(size: int, resized: int) -> IndexMap:
    """Return for each resized position i the source position, floor(i·size / resized)."""
    return np.arange(resized) * size // resized


def _taps(size: int, resized: int, offset: int, canvas: int) -> tuple[Tap, Tap]:
    """Return source positions and weights, ``(size,)``, of resize, pad, resize along one axis.

    A canvas position outside the placed image has weight 0, because its value is constant.
    """

    def placed(tap: Tap) -> Tap:
        at, weight = tap[0] - offset, tap[1]
        inside = (at >= 0) & (at < resized)
        return np.clip(at, 0, resized - 1) * size // resized, weight * inside

    lower, upper = bilinear_taps(size, canvas)
    return placed(lower), placed(upper)
