"""Many random numbers from one read of the generator: 1,444 single ones take 1 ms."""

from random import Random

import numpy as np
from numpy.typing import NDArray


def integers(rng: Random, below: int | NDArray[np.intp], count: int) -> NDArray[np.intp]:
    """Uniform whole numbers in 0…below - 1; a value's chance is off by at most 2^-32.

    Args:
        rng: where they come from.
        below: one limit, or one for each number, in 1…2^31.
        count: how many.
    """
    drawn = np.frombuffer(rng.randbytes(4 * count), "<u4").astype(np.uint64)
    return (drawn * np.asarray(below, np.uint64) >> np.uint64(32)).astype(np.intp)


def kept_values(rng: Random, size: tuple[int, int], chance: float) -> NDArray[np.bool_]:
    """Which values of an image are kept, each by itself; the chance is rounded to 1 / 65,536.

    Args:
        rng: where the randomness comes from.
        size: the image's (height, width).
        chance: of each value to be kept, in [0, 1].

    Returns:
        ``(H, W, 3)``, not writeable.
    """
    drawn = np.frombuffer(rng.randbytes(2 * 3 * size[0] * size[1]), "<u2")
    kept: NDArray[np.bool_] = (drawn < round(65_536 * chance)).reshape(*size, 3)
    kept.flags.writeable = False
    return kept
