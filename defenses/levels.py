"""Images as 8-bit levels and as ``float32``, for operations that work in one of the two."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from defenses.operation import Image


def to_levels(image: Image) -> NDArray[np.uint8]:
    """A ``uint8`` image as it is; a ``float32`` one rounded to 8 bits, clipped to [0, 1]."""
    if image.dtype == np.uint8:
        return image.view(np.uint8)
    return np.rint(255 * np.clip(image, 0, 1)).astype(np.uint8)


def from_levels(levels: NDArray[np.uint8], dtype: np.dtype[Any]) -> Image:
    """The image of a dtype that has these levels; the levels themselves for ``uint8``."""
    return levels if dtype == np.uint8 else levels * np.float32(1 / 255)


def to_unit(image: Image) -> NDArray[np.float32]:
    """A new ``float32`` array in [0, 1]."""
    if image.dtype == np.uint8:
        return image * np.float32(1 / 255)
    return image.astype(np.float32)


def from_unit(values: NDArray[np.float32], dtype: np.dtype[Any]) -> Image:
    """The image of a dtype nearest to these values, clipped to [0, 1]; they may be overwritten."""
    np.clip(values, 0, 1, out=values)
    if dtype != np.uint8:
        return values
    values *= 255
    return np.rint(values, out=values).astype(np.uint8)
