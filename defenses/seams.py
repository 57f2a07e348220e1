"""The minimum-error boundary cut of image quilting (Efros & Freeman 2001), for many overlaps."""

import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.float32]
"""``(length, overlap, n)``, the squared difference at each position of n overlaps."""


def cuts(errors: Errors) -> NDArray[np.intp]:
    """Find the path of least error along each overlap by dynamic programming.

    From one step along the overlap to the next, the path moves across it by at most one position.

    Args:
        errors: ``(length, overlap, n)``, overlap ≥ 1.

    Returns:
        ``(length, n)``, the position across the overlap, 0…overlap - 1, where the second image
        begins.
    """
    length, overlap, n = errors.shape
    cost = errors[0].copy()
    came = np.zeros((length, overlap, n), np.int8)
    for step in range(1, length):
        best = cost.copy()
        for shift in (-1, 1):
            # Positions whose path comes from the neighbour in this direction.
            here = slice(max(0, -shift), overlap - max(0, shift))
            there = slice(max(0, shift), overlap + min(0, shift))
            better = cost[there] < best[here]
            best[here][better] = cost[there][better]
            came[step, here][better] = shift
        cost = best + errors[step]
    path = np.empty((length, n), np.intp)
    path[-1] = cost.argmin(axis=0)
    every = np.arange(n)
    for step in range(length - 1, 0, -1):
        path[step - 1] = path[step] + came[step, path[step], every]
    return path
