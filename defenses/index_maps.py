"""Separable nearest-neighbour look-up and its transpose.

``rdg`` and ``rand`` read each output row from one input row and each output column from one input
column. For fixed index maps this is linear, so the transpose is the exact vector-Jacobian product.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
Real = TypeVar("Real", bound=np.floating)

IndexMap = NDArray[np.intp]
"""``(n,)``: for each output row or column, the input row or column that it reads; never falling."""


def gather(image: NDArray[Scalar], rows: IndexMap, columns: IndexMap) -> NDArray[Scalar]:
    """Return ``out[i, j] = image[rows[i], columns[j]]``, of (len(rows), len(columns), C)."""
    return image.take(rows, axis=0).take(columns, axis=1)


def scatter_add(grad: NDArray[Real], index: IndexMap, size: int, axis: int) -> NDArray[Real]:
    """Apply the transpose of ``take(index, axis)``, which sums the gradients of repeated reads.

    Args:
        grad: the gradient by the output, ``len(index)`` long on ``axis``.
        index: an index map. Equal entries are neighbours, because an index map never falls.
        size: the length of the input on ``axis``.
        axis: 0 or 1.
    """
    if axis == 0:
        return _add_rows(grad, index, size)
    # NumPy is several times as fast on whole rows as on the three values of a column's pixel.
    height, _, channels = grad.shape
    columns = np.ascontiguousarray(grad.reshape(height, -1).T).reshape(len(index), -1)
    added = _add_rows(columns, index, size).reshape(-1, height)
    return np.ascontiguousarray(added.T).reshape(height, size, channels)


def _add_rows(grad: NDArray[Real], index: IndexMap, size: int) -> NDArray[Real]:
    """Add the first read of each row, then each second read, and so on: all targets differ."""
    out = np.zeros((size, *grad.shape[1:]), grad.dtype)
    starts = np.flatnonzero(np.diff(index, prepend=-1))
    counts = np.diff(starts, append=len(index))
    for read in range(counts.max()):
        some = starts[counts > read]
        out[index[some]] += grad.take(some + read, axis=0)
    return out
