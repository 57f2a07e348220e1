"""Pixel deflection (Prakash et al. 2018, arXiv 1801.08926)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np

from defenses.draws import integers
from defenses.haar import denoise
from defenses.index_maps import IndexMap
from defenses.levels import from_unit, to_unit
from defenses.operation import Draw, Gradient, Image, Operation, image_size


@dataclass(frozen=True, eq=False)
class DeflectionDraw(Draw):
    """The pixels that are replaced and the pixels that replace them, as positions y·W + x.

    Attributes:
        targets: the replaced pixels, each listed once.
        sources: for each target, the pixel whose value it takes.
    """

    targets: IndexMap
    sources: IndexMap


@dataclass(frozen=True)
class PixelDeflection(Operation[DeflectionDraw]):
    """Replace random pixels by pixels nearby, then shrink the wavelet details.

    This is the paper's Algorithm 1. Each chosen pixel takes, in all channels, the original value of
    a pixel that is drawn uniformly from the square of 2·``window`` + 1 px around it. The pixels are
    chosen uniformly too, because the paper's activation map needs the classifier. The denoising is
    BayesShrink with soft thresholds on Haar wavelets (db1) in YCbCr.

    Attributes:
        deflections: the number of replacements (some hit a pixel twice), 0…1,000,000.
        window: the largest distance of the replacing pixel along each axis, in px, 1…1,000.
        sigma: the standard deviation of the noise that the denoising assumes, in [0, 1]; 0 turns
            the denoising off.
    """

    name: ClassVar[str] = "deflect"
    summary: ClassVar[str] = "Pixel deflection and wavelet denoising"
    reference: ClassVar[str] = "Prakash et al. 2018, arXiv:1801.08926"

    deflections: int = 200
    window: int = 10
    sigma: int | float = 0.04

    def __post_init__(self) -> None:
        self._require_whole("deflections", 0, 1_000_000)
        self._require_whole("window", 1, 1_000, what="a whole number of px")
        self._require_number("sigma", 0, 1)

    @property
    def random(self) -> bool:
        """Return False only if no pixel is replaced."""
        return self.deflections > 0

    def sample(self, rng: Random, shape: tuple[int, ...]) -> DeflectionDraw:
        """Draw the pixels and their replacements; see :class:`Operation`."""
        height, width = image_size(shape)
        y = integers(rng, height, self.deflections)
        x = integers(rng, width, self.deflections)
        sources = width * self._near(rng, y, height) + self._near(rng, x, width)
        # If a pixel is replaced twice, the later replacement counts.
        targets, last = np.unique((width * y + x)[::-1], return_index=True)
        sources = sources[::-1][last]
        for index in (targets, sources):
            index.flags.writeable = False
        return DeflectionDraw(shape=(height, width), targets=targets, sources=sources)

    def _near(self, rng: Random, position: IndexMap, size: int) -> IndexMap:
        """Draw for each position a uniform position in its window, inside the image."""
        first = np.maximum(position - self.window, 0)
        last = np.minimum(position + self.window, size - 1)
        return first + integers(rng, last - first + 1, len(position))

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 72 bytes for each pixel; see :class:`Operation`."""
        return 72 * shape[0] * shape[1]

    def _apply(self, image: Image, params: DeflectionDraw) -> Image:
        out = np.array(image)
        out.reshape(-1, 3)[params.targets] = image.reshape(-1, 3)[params.sources]
        if not self.sigma:
            return out
        return from_unit(denoise(to_unit(out), self.sigma), image.dtype)

    def _vjp(self, grad: Gradient, params: DeflectionDraw) -> Gradient:
        """Apply the exact transpose of the deflection, and pass through the denoising."""
        out = grad.copy()
        by_pixel = out.reshape(-1, grad.shape[2])
        by_pixel[params.targets] = 0
        moved = grad.reshape(-1, grad.shape[2])[params.targets]
        np.add.at(by_pixel, params.sources, moved)
        return out
