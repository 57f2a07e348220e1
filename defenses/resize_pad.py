"""Rand, random resizing and padding (Xie et al. 2018), in the form that Qiu et al. 2020 give it."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np

from defenses.bilinear import Tap, bilinear_taps, transposed
from defenses.index_maps import IndexMap, gather
from defenses.operation import Draw, Gradient, Image, Operation, image_size

REFERENCE_SIDE_PX = 299
"""The side for which the paper gives its sizes; those for another side scale with it."""


@dataclass(frozen=True)
class ResizePadDraw(Draw):
    """Where the resized image lies on the canvas, all as (vertical, horizontal) in px."""

    resized: tuple[int, int]
    offset: tuple[int, int]
    canvas: tuple[int, int]


@dataclass(frozen=True)
class RandomResizePad(Operation[ResizePadDraw]):
    """Enlarge by a random factor, place at random on a canvas of one value, shrink back.

    The image is resized to r px (nearest neighbour; r uniform on 299…``largest``), put at a uniform
    offset on a square canvas of ``canvas`` px, and the canvas is resized to the image's own size
    (bilinear). On an image that is not square both axes take the same factor.

    Attributes:
        largest: the largest r, in px of a 299 px side.
        canvas: the canvas's side, in px of a 299 px side.
        value: the canvas's value, in [0, 1].
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
        """False only where neither the size nor the place can vary."""
        return self.canvas > REFERENCE_SIDE_PX

    def sample(self, rng: Random, shape: tuple[int, ...]) -> ResizePadDraw:
        """Draw the size and the place; see :class:`Operation`."""
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
        """Exact (for ``float32``): the transpose of resize, pad and resize, axis by axis."""
        for axis in (0, 1):
            size = params.shape[axis]
            taps = _taps(size, params.resized[axis], params.offset[axis], params.canvas[axis])
            grad = transposed(grad, taps, size, axis)
        return grad


def _nearest(size: int, resized: int) -> IndexMap:
    """For each resized position the source position: floor(i·size / resized)."""
    return np.arange(resized) * size // resized


def _taps(size: int, resized: int, offset: int, canvas: int) -> tuple[Tap, Tap]:
    """One axis of resize–pad–resize as two look-ups: source positions and weights, ``(size,)``.

    A canvas position outside the placed image is the canvas's constant and weighs nothing.
    """

    def placed(tap: Tap) -> Tap:
        at, weight = tap[0] - offset, tap[1]
        inside = (at >= 0) & (at < resized)
        return np.clip(at, 0, resized - 1) * size // resized, weight * inside

    lower, upper = bilinear_taps(size, canvas)
    return placed(lower), placed(upper)
