"""What is kept of an image: its block means, and a secret projection of its scores."""

import hashlib
from random import SystemRandom
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses import Image

GRID = 32
"""The block means of an image are at most 32 x 32."""
DIRECTIONS = 128
"""How many values a projection has."""

Means: TypeAlias = NDArray[np.uint8]
Direction: TypeAlias = NDArray[np.float16]

_RANDOM = SystemRandom()
_LEAST_PROBABILITY = 1e-6


def block_means(image: Image) -> Means:
    """Return the means of an image's blocks, at most 3,072 values in [0, 255].

    A mean is never further from another image's mean than the pixels are. So the means of two
    images within 8/255 of a third one differ by at most 16, and by 17 once they are rounded.

    Args:
        image: ``(height, width, 3)``, uint8 in [0, 255] or float32 in [0, 1].
    """
    height, width = image.shape[:2]
    size = min(GRID, width), min(GRID, height)
    means: Any = cv2.resize(image, size, interpolation=cv2.INTER_AREA).ravel()
    return np.asarray(np.rint(255 * means) if image.dtype == np.float32 else means, np.uint8)


class Fingerprints:
    """Makes fingerprints that only this process can compare, because its secret is random.

    Attributes:
        shape: the shape of the images.
        classes: how many scores an image has.
    """

    def __init__(self, shape: tuple[int, ...], classes: int) -> None:
        self.shape = shape
        self.classes = classes
        bits = np.frombuffer(_RANDOM.randbytes(classes * DIRECTIONS // 8), np.uint8)
        signs = 2 * np.unpackbits(bits).astype(np.float32) - 1
        self._projection = signs.reshape(classes, DIRECTIONS)
        self._secret = _RANDOM.randbytes(32)

    def fits(self, image: Image, scores: NDArray[np.float32]) -> bool:
        """Whether these are for images and scores like one's own."""
        return image.shape == self.shape and len(scores) == self.classes

    def identity(self, image: Image) -> int:
        """A keyed digest of the pixels, 64 bits: equal for bit-identical images only."""
        digest = hashlib.blake2b(digest_size=8, key=self._secret)
        digest.update(np.ascontiguousarray(image).data)
        return int.from_bytes(digest.digest(), "little")

    def direction(self, scores: NDArray[np.float32], *, probabilities: bool) -> Direction:
        """Where the scores of one draw point: their projection to 128 values, of length 1.

        Args:
            scores: ``(classes,)``.
            probabilities: whether the scores are probabilities; otherwise they are logits.
        """
        logits = np.log(np.maximum(scores, _LEAST_PROBABILITY)) if probabilities else scores
        projected = (logits - logits.mean()) @ self._projection
        length = float(np.linalg.norm(projected))
        direction: Direction = (projected / (length or 1.0)).astype(np.float16)
        return direction
