"""Which of the kept images are like a new one: by their pixels, and by their scores."""

import numpy as np
from numpy.typing import NDArray

from service.signals.fingerprint import Direction, Means

SAME_PICTURE_LEVELS = 17
"""Twice 8, the usual radius of an attack, and 1 because the means are rounded."""
BLANK_LEVELS = 34
"""Images whose block means differ by less show nothing, so they are all alike."""
LEAST_COSINE = 0.72
"""Of the scores of two images that point the same way."""
LEAST_CLASSES = 100
"""With fewer classes the scores of different images often point the same way."""


def is_blank(means: Means) -> bool:
    """Whether an image is blank or dark: all of its block means are nearly equal."""
    return int(means.max()) - int(means.min()) < BLANK_LEVELS


def same_picture(kept: NDArray[np.uint8], means: Means) -> NDArray[np.bool_]:
    """Return which of the kept images have all block means within 17 of a new image's means.

    Args:
        kept: ``(n, values)``, the block means of the kept images.
        means: ``(values,)``, those of the new one.
    """
    apart = np.maximum(kept, means) - np.minimum(kept, means)
    near: NDArray[np.bool_] = apart.max(axis=1, initial=0) <= SAME_PICTURE_LEVELS
    return near


def same_direction(
    kept: NDArray[np.float16], direction: Direction, least_cosine: float = LEAST_COSINE
) -> NDArray[np.bool_]:
    """Return which of the kept images have scores that point the way of a new image's scores.

    Args:
        kept: ``(n, 128)``, each row of length 1.
        direction: ``(128,)``, of length 1.
        least_cosine: from where on two of them point the same way.
    """
    return cosines(kept, direction) >= least_cosine


def cosines(kept: NDArray[np.float16], direction: Direction) -> NDArray[np.float32]:
    """Return the cosine of each of the kept images' scores and a new image's scores: ``(n,)``."""
    return kept.astype(np.float32) @ direction.astype(np.float32)
