"""The budget: how far a posted image may be from its photograph."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Norm = Literal["l2", "linf"]
_SHRINK = 0.999
_TOLERANCE = 1e-6  # the rounding of float32


def l2_rms(change: NDArray[np.floating[Any]]) -> float:
    """Return the root mean square over all values. The paper's 0.05 is an l2 of 25.9 at 299 px."""
    return float(np.sqrt(np.mean(np.square(change, dtype=np.float64))))


def linf(change: NDArray[np.floating[Any]]) -> float:
    """Return the largest absolute value."""
    return float(np.abs(change).max(initial=0.0))


def as_pixels(posted: NDArray[Any]) -> NDArray[np.float32]:
    """Return a posted image as ``float32`` in [0, 1]."""
    if posted.dtype == np.uint8:
        return posted.astype(np.float32) / np.float32(255)
    return posted.astype(np.float32, copy=False)


@dataclass(frozen=True)
class Budget:
    """A ball around a photograph with pixels in [0, 1].

    Attributes:
        norm: ``l2`` is the root mean square over all values, ``linf`` the largest absolute value.
        epsilon: the radius. A radius of 1 holds every image.
    """

    norm: Norm
    epsilon: float

    def size(self, change: NDArray[np.floating[Any]]) -> float:
        """Return the size of a change in this budget's norm."""
        return l2_rms(change) if self.norm == "l2" else linf(change)

    def holds(self, clean: NDArray[np.float32], posted: NDArray[Any]) -> bool:
        """Return whether a posted image is inside the budget."""
        return self.size(as_pixels(posted) - clean) <= self.epsilon + _TOLERANCE

    def project(
        self, clean: NDArray[np.float32], image: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """Return the nearest image inside with pixels in [0, 1] (for l2, nearly the nearest)."""
        change = image - clean
        if self.norm == "linf":
            np.clip(change, -self.epsilon, self.epsilon, out=change)
        elif (size := l2_rms(change)) > self.epsilon:
            change *= np.float32(self.epsilon / size)
        projected: NDArray[np.float32] = np.clip(clean + change, 0.0, 1.0)
        return projected

    def post(
        self, clean: NDArray[np.float32], image: NDArray[np.float32], *, quantized: bool
    ) -> NDArray[np.uint8] | NDArray[np.float32]:
        """Return the image to post, inside the budget even if rounding to 8 bits would leave it.

        Args:
            clean: the photograph.
            image: the adversarial example, ``float32`` in [0, 1].
            quantized: whether to return ``uint8``, as image files have it, or ``float32``.
        """
        posted = self.project(clean, image)
        if not quantized:
            return posted
        rounded = to_8_bits(posted)
        change = posted - clean
        unchanged = to_8_bits(clean)
        # Rounding alone may move a photograph that is not of 8 bits out of a tiny budget.
        while not (self.holds(clean, rounded) or np.array_equal(rounded, unchanged)):
            if self.size(change) <= _TOLERANCE:
                return unchanged
            change *= np.float32(_SHRINK)
            rounded = to_8_bits(clean + change)
        return rounded


def to_8_bits(image: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return the nearest image with 8 bits a value."""
    return np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
