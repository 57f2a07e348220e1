"""Images as 8-bit levels and as ``float32``, for operations that compute in one of these forms."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.operation import Image


def to_levels(image: Image) -> NDArray[np.uint8]:
    """Return a ``uint8`` image unchanged, and a ``float32`` image clipped and rounded to 8 bits."""
    if image.dtype == np.uint8:
        return image.view(np.uint8)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def from_levels(levels: NDArray[np.uint8], dtype: np.dtype[Any]) -> Image:
    """Return levels as an image of a dtype; for ``uint8`` this is the same array."""
    return levels if dtype == np.uint8 else levels * np.float32(1 / 255)


def to_unit(image: Image) -> NDArray[np.float32]:
    """Return a new ``float32`` array in [0, 1]."""
    if image.dtype == np.uint8:
        return image * np.float32(1 / 255)
    return image.astype(np.float32)


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> Image:
    """Return values, clipped to [0, 1], as an image of a dtype; this may overwrite the values."""
    np.clip(values, 0, 1, out=values)
    if dtype != np.uint8:
        return values
    values *= 255
    return np.rint(values, out=values).astype(np.uint8)
