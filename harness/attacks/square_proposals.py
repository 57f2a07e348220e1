"""The images that Square tries: stripes first, then squares of one change (l∞) or two humps (l2).

Where the paper leaves a detail open, this follows the authors' code
(github.com/max-andr/square-attack).
"""

import numpy as np
from numpy.typing import NDArray

from harness.budget import Budget
from harness.types import Pixels

_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)
_TILES = 5
_TINY = 1e-10


def square_fraction(first: float, progress: float) -> float:
    """Return the fraction of the pixels in a square: halved nine times, less and less often."""
    return first / 2.0 ** sum(progress > limit for limit in _HALVINGS)


def start(clean: Pixels, budget: Budget, rng: np.random.Generator) -> Pixels:
    """Return the first candidate: vertical stripes, or for l2 a chessboard of humps."""
    if budget.norm == "linf":
        return column_stripes(clean, budget, rng)
    height, width, channels = clean.shape
    side = max(min(height, width) // _TILES, 1)
    change = np.zeros(clean.shape)
    for top in range((height % side) // 2, height - side + 1, side):
        for left in range((width % side) // 2, width - side + 1, side):
            change[top : top + side, left : left + side] = _humps(side, channels, rng)
    return _of_size(clean, change, budget)


def column_stripes(clean: Pixels, budget: Budget, rng: np.random.Generator) -> Pixels:
    """Return the image with stripes one pixel wide, of the budget's size in either norm."""
    _, width, channels = clean.shape
    stripes = rng.choice([-1.0, 1.0], (1, width, channels)).astype(np.float32)
    return budget.project(clean, clean + np.float32(budget.epsilon) * stripes)


def candidate(
    clean: Pixels, incumbent: Pixels, budget: Budget, fraction: float, rng: np.random.Generator
) -> Pixels:
    """Return the incumbent with one more square, of a fraction of the pixels."""
    height, width, channels = clean.shape
    side = round(float(np.sqrt(fraction * height * width)))
    if budget.norm == "l2":
        return _moved(clean, incumbent, budget, max(side, 3) | 1, rng)
    side = min(max(side, 1), min(height, width) - 1)
    window = _window(clean, side, rng)
    change = (incumbent - clean).astype(np.float32)
    # The square may already have the drawn change. Then draw again, or nothing would be tried.
    for _ in range(16):
        signs = rng.choice([-1.0, 1.0], channels)
        change[window] = np.float32(budget.epsilon) * signs
        changed = budget.project(clean, clean + change)
        if not np.allclose(changed[window], incumbent[window], rtol=0, atol=1e-7):
            break
    return changed


def _moved(
    clean: Pixels, incumbent: Pixels, budget: Budget, side: int, rng: np.random.Generator
) -> Pixels:
    """Move the change from one window to humps in another window (algorithm 3)."""
    height, width, channels = clean.shape
    side = min(side, (min(height, width) - 1) // 2 * 2 - 1)
    change = (incumbent - clean).astype(np.float64)
    filled, emptied = _window(clean, side, rng), _window(clean, side, rng)
    both = np.zeros((height, width, 1))
    both[filled] = both[emptied] = 1
    available = np.square(change * both).sum(axis=(0, 1))
    unused = max(change.size * budget.epsilon**2 - np.square(change).sum(), 0.0)
    old = change[filled] / (_TINY + np.sqrt(np.square(change[filled]).sum(axis=(0, 1))))
    new = _humps(side, channels, rng) + old
    new /= _TINY + np.sqrt(np.square(new).sum(axis=(0, 1)))
    change[emptied] = 0.0
    change[filled] = new * np.sqrt(unused / channels + available)
    return _of_size(clean, change, budget)


def _of_size(clean: Pixels, change: NDArray[np.float64], budget: Budget) -> Pixels:
    change *= budget.epsilon / (_TINY + budget.size(change))
    return budget.project(clean, clean + change.astype(np.float32))


def _window(clean: Pixels, side: int, rng: np.random.Generator) -> tuple[slice, slice]:
    top = int(rng.integers(clean.shape[0] - side + 1))
    left = int(rng.integers(clean.shape[1] - side + 1))
    return slice(top, top + side), slice(left, left + side)


def _humps(side: int, channels: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Return a hump up and a hump down, of l2 norm 1 and with a random sign in each channel."""
    half = side // 2
    humps = np.concatenate([_hump(half, side), -_hump(side - half, side)])
    humps /= _TINY + np.sqrt(np.square(humps).sum())
    if rng.random() > 0.5:
        humps = humps.T
    signs: NDArray[np.float64] = rng.choice([-1.0, 1.0], channels)
    return humps[:, :, None] * signs


def _hump(height: int, width: int) -> NDArray[np.float64]:
    """Return stacked squares around the middle. The k-th is 2k - 1 wide and weighs 1/k²."""
    hump = np.zeros((height, width))
    rows, columns = height // 2, width // 2
    for ring in range(max(rows, columns) + 1):
        top, left = rows - ring, columns - ring
        side = 2 * ring + 1
        hump[max(top, 0) : max(top + side, 0), max(left, 0) : max(left + side, 0)] += (
            1.0 / (ring + 1) ** 2
        )
    size = float(np.sqrt(np.square(hump).sum()))
    return hump / size if size else hump
