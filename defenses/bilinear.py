"""OpenCV's bilinear resize along one axis, written as two look-ups, and its transpose."""

import numpy as np
from numpy.typing import NDArray

from defenses.index_maps import IndexMap, Real, scatter_add

Tap = tuple[IndexMap, NDArray[np.float64]]
"""For each output position, the input position that it reads and the weight of that value."""


def bilinear_taps(size: int, source: int) -> tuple[Tap, Tap]:
    """Return the lower and the upper tap of a resize from ``source`` to ``size`` positions.

    The samples lie at pixel centres. A read beyond the edge takes the value at the edge.
    """
    position = (np.arange(size) + 0.5) * source / size - 0.5
    lower = np.floor(position).astype(np.intp)
    fraction = position - lower
    return (
        (np.clip(lower, 0, source - 1), 1 - fraction),
        (np.clip(lower + 1, 0, source - 1), fraction),
    )


def transposed(grad: NDArray[Real], taps: tuple[Tap, Tap], size: int, axis: int) -> NDArray[Real]:
    """Apply the transpose of reading two taps on an axis on which the input is ``size`` long."""
    along = (-1, 1, 1) if axis == 0 else (1, -1, 1)
    lower, upper = (
        scatter_add(grad * weight.astype(grad.dtype).reshape(along), index, size, axis)
        for index, weight in taps
    )
    return lower + upper
