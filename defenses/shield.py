"""The stochastic local quantisation of SHIELD (Das et al. 2018, arXiv 1802.06816)."""

import re
from dataclasses import dataclass
from random import Random
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from defenses.draws import integers
from defenses.jpeg import codec_size, compress
from defenses.levels import from_levels, to_levels
from defenses.operation import Draw, Image, StraightThrough

BLOCK_PX = 8

_NUMBER = re.compile("[0-9]{1,3}")


@dataclass(frozen=True, eq=False)
class ShieldDraw(Draw):
    """The position of the quality of each 8x8 block, ``(ceil(H / 8), ceil(W / 8))``."""

    choices: NDArray[np.uint8]


@dataclass(frozen=True)
class Shield(StraightThrough[ShieldDraw]):
    """Compress the image as JPEG at several qualities, and take each 8x8 block from one at random.

    As in the published code, the whole image is compressed at each quality before the blocks are
    picked, and the chroma is subsampled 4:2:0. A ``float32`` image is first rounded to 8 bits, and
    the result is ``float32`` again.

    >>> Shield().sample(Random(0), (299, 299)).choices.shape
    (38, 38)

    Attributes:
        qualities: different JPEG qualities in 1…100, joined by "-"; all are equally likely.
    """

    name: ClassVar[str] = "shield"
    summary: ClassVar[str] = "SHIELD's SLQ: each 8x8 block at a random JPEG quality"
    reference: ClassVar[str] = "Das et al. 2018, arXiv:1802.06816"

    qualities: str | int = "20-40-60-80"

    def __post_init__(self) -> None:
        parts = str(self.qualities).split("-")
        numbers = [int(part) if _NUMBER.fullmatch(part) else 0 for part in parts]
        allowed = all(1 <= number <= 100 for number in numbers) and len(set(numbers)) == len(
            numbers
        )
        self._require(allowed, "qualities", "different whole numbers in 1…100, joined by -")
        # A single quality may be a number. It becomes text, so that equal operations compare equal.
        object.__setattr__(self, "qualities", "-".join(map(str, numbers)))

    @property
    def random(self) -> bool:
        """Return False only if there is a single quality."""
        return len(self._qualities()) > 1

    def sample(self, rng: Random, shape: tuple[int, ...]) -> ShieldDraw:
        """Draw the quality of each block; see :class:`Operation`.

        Raises:
            ImageError: a side is shorter than 8 px, or longer than 65,500 px.
        """
        height, width = codec_size(shape)
        blocks = (-(-height // BLOCK_PX), -(-width // BLOCK_PX))
        drawn = integers(rng, len(self._qualities()), blocks[0] * blocks[1])
        choices = drawn.astype(np.uint8).reshape(blocks)
        choices.flags.writeable = False
        return ShieldDraw(shape=(height, width), choices=choices)

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 24 bytes for each pixel; see :class:`Operation`."""
        return 24 * shape[0] * shape[1]

    def _apply(self, image: Image, params: ShieldDraw) -> Image:
        height, width = params.shape
        choices = params.choices.repeat(BLOCK_PX, 0).repeat(BLOCK_PX, 1)[:height, :width]
        bgr = cv2.cvtColor(to_levels(image), cv2.COLOR_RGB2BGR).view(np.uint8)
        first, *others = self._qualities()
        out = compress(bgr, first)
        for index, quality in enumerate(others, start=1):
            cv2.copyTo(compress(bgr, quality), (choices == index).astype(np.uint8), out)
        return from_levels(out, image.dtype)

    def _qualities(self) -> list[int]:
        return [int(part) for part in str(self.qualities).split("-")]
