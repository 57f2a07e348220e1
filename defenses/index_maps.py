"""Separable nearest-neighbour look-up and its transpose.

Both random operations read every output row from one input row and every output column from one
input column. With the two index maps fixed that is linear, so its transpose is its exact
vector-Jacobian product.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Real = TypeVar("Real", bound=np.floating)

IndexMap = NDArray[np.intp]
"""``(n,)``: for each output row (or column) the input row (or column) it reads; never falling."""


def gather(image: NDArray[Scalar], rows: IndexMap, columns: IndexMap) -> NDArray[Scalar]:
    """``out[i, j] = image[rows[i], columns[j]]``, shape (len(rows), len(columns), C)."""
    return image.take(rows, axis=0).take(columns, axis=1)


def scatter_add(grad: NDArray[Real], index: IndexMap, size: int, axis: int) -> NDArray[Real]:
    """The transpose of ``take(index, axis)``: what was read several times is summed.

    Args:
        grad: the gradient by the output, ``len(index)`` long on ``axis``.
        index: an index map; because it never falls, equal entries are neighbours.
        size: how long the input is on ``axis``.
        axis: 0 or 1.
    """
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    shape = list(grad.shape)
    shape[axis] = size
    out = np.zeros(shape, grad.dtype)
    target = (index[starts],) if axis == 0 else (slice(None), index[starts])
    out[target] = np.add.reduceat(grad, starts, axis=axis)
    return out
