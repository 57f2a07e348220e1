"""What Square tries: stripes first, then squares of one change (l∞) or of two humps (l2).

As in the authors' code (github.com/max-andr/square-attack), where the paper leaves it open.
"""

import numpy as np
from numpy.typing import NDArray

from harness.budget import Budget
from harness.types import Pixels

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_TILES = 5
_TINY = 1e-10


def share(first: float, progress: float) -> float:
    """Of the pixels in a square: halved nine times on the way, more and more rarely."""
    return first / 2.0 ** sum(progress > limit for limit in _HALVINGS)


def start(clean: Pixels, budget: Budget, generator: np.random.Generator) -> Pixels:
    """The first candidate: vertical stripes, or for l2 a chessboard of humps."""
    height, width, channels = clean.shape
    if budget.norm == "linf":
        stripes = generator.choice([-1.0, 1.0], (1, width, channels)).astype(np.float32)
        return budget.project(clean, clean + np.float32(budget.epsilon) * stripes)
    side = max(min(height, width) // _TILES, 1)
    change = np.zeros(clean.shape)
    for top in range((height % side) // 2, height - side + 1, side):
        for left in range((width % side) // 2, width - side + 1, side):
            change[top : top + side, left : left + side] = _humps(side, channels, generator)
    return _of_size(clean, change, budget)


def candidate(
    clean: Pixels, incumbent: Pixels, budget: Budget, share: float, generator: np.random.Generator
) -> Pixels:
    """The incumbent with one more square."""
    height, width, channels = clean.shape
    side = round(float(np.sqrt(share * height * width)))
    if budget.norm == "l2":
        return _moved(clean, incumbent, budget, max(side, 3) | 1, generator)
    side = min(max(side, 1), min(height, width) - 1)
    window = _window(clean, side, generator)
    change = (incumbent - clean).astype(np.float32)
    # Where the square has this very change already, nothing would be tried.
    for _ in range(16):
        signs = generator.choice([-1.0, 1.0], channels)
        change[window] = np.float32(budget.epsilon) * signs
        changed = budget.project(clean, clean + change)
        if not np.allclose(changed[window], incumbent[window], rtol=0, atol=1e-7):
            break
    return changed


def _moved(
    clean: Pixels, incumbent: Pixels, budget: Budget, side: int, generator: np.random.Generator
) -> Pixels:
    """Takes the change out of one window, and its size to humps in another (algorithm 3)."""
    height, width, channels = clean.shape
    side = min(side, (min(height, width) - 1) // 2 * 2 - 1)
    change = (incumbent - clean).astype(np.float64)
    there, emptied = _window(clean, side, generator), _window(clean, side, generator)
    both = np.zeros((height, width, 1))
    both[there] = both[emptied] = 1
    available = np.square(change * both).sum(axis=(0, 1))
    unused = max(change.size * budget.epsilon**2 - np.square(change).sum(), 0.0)
    old = change[there] / (_TINY + np.sqrt(np.square(change[there]).sum(axis=(0, 1))))
    new = _humps(side, channels, generator) + old
    new /= _TINY + np.sqrt(np.square(new).sum(axis=(0, 1)))
    change[emptied] = 0.0
    change[there] = new * np.sqrt(unused / channels + available)
    return _of_size(clean, change, budget)


def _of_size(clean: Pixels, change: NDArray[np.float64], budget: Budget) -> Pixels:
    change *= budget.epsilon / (_TINY + budget.size(change))
    return budget.project(clean, clean + change.astype(np.float32))


def _window(clean: Pixels, side: int, generator: np.random.Generator) -> tuple[slice, slice]:
    top = int(generator.integers(clean.shape[0] - side + 1))
    left = int(generator.integers(clean.shape[1] - side + 1))
    return slice(top, top + side), slice(left, left + side)


def _humps(side: int, channels: int, generator: np.random.Generator) -> NDArray[np.float64]:
    """One hump up, one down, of length 1 in each channel, with a sign of its own."""
    half = side // 2
    humps = np.concatenate([_hump(half, side), -_hump(side - half, side)])
    humps /= _TINY + np.sqrt(np.square(humps).sum())
    if generator.random() > 0.5:
        humps = humps.T
    signs: NDArray[np.float64] = generator.choice([-1.0, 1.0], channels)
    return humps[:, :, None] * signs


def _hump(height: int, width: int) -> NDArray[np.float64]:
    """Squares one upon the other about the middle, each wider by 2 and weighing 1/k²."""
    hump = np.zeros((height, width))
    rows, columns = height // 2, width // 2
    for ring in range(max(rows, columns) + 1):
        top, left = rows - ring, columns - ring
        across = 2 * ring + 1
        hump[max(top, 0) : max(top + across, 0), max(left, 0) : max(left + across, 0)] += (
            1.0 / (ring + 1) ** 2
        )
    size = float(np.sqrt(np.square(hump).sum()))
    return hump / size if size else hump
