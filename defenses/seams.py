"""The minimum-error boundary cut of image quilting (Efros & Freeman 2001), many at once."""

import numpy as np
from numpy.typing import NDArray

Errors = NDArray[np.float32]
"""``(length, overlap, n)``: n overlaps, and the squared difference at each of their places."""


def cuts(errors: Errors) -> NDArray[np.intp]:
    """Where to cut each overlap: the path of least error along it, by dynamic programming.

    A step along the overlap moves the path by one place across it at most.

    Args:
        errors: ``(length, overlap, n)``, overlap ≥ 1.

    Returns:
        ``(length, n)``: the place across the overlap, 0…overlap - 1, where the second image begins.
    """
    length, overlap, n = errors.shape
    cost = errors[0].copy()
    came = np.zeros((length, overlap, n), np.int8)
    for step in range(1, length):
        best = cost.copy()
        for shift in (-1, 1):
            # The place across whose path comes from its neighbour in this direction.
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
