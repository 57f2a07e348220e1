"""Image quilting with patches of clean images (Guo et al. 2018, after Efros & Freeman 2001)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from defenses import patch_bank
from defenses.draws import integers
from defenses.from_file import FromFile
from defenses.levels import from_levels, to_levels
from defenses.operation import DefenseError, Draw, Image, image_size
from defenses.patch_bank import PatchBank
from defenses.seams import cuts

MAX_NEAREST = patch_bank.MIN_PATCHES

_SEARCHED_AT_ONCE = 16_384


@dataclass(frozen=True, eq=False)
class QuiltingDraw(Draw):
    """The rank of each patch among the near patches, ``(rows, columns)``; 0 is the nearest."""

    ranks: NDArray[np.uint8]


@dataclass(frozen=True)
class Quilting(FromFile[QuiltingDraw]):
    """Replace each patch of the image by one of the nearest patches in a bank of clean patches.

    The patches overlap. Each patch is joined to its left neighbour along the cut where the two
    differ least, and then each row to the row above in the same way; Efros and Freeman join patch
    by patch. As in the published code, the search compares with the original image, not with the
    patches laid so far. A ``float32`` image is first rounded to 8 bits.

    Attributes:
        bank: the path of a file from ``warpguard quilt-bank``, in which ``~`` is allowed. The file
            is read and checked once, when the operation is made.
        nearest: the number of nearest patches from which one is picked at random, 1…100.
        overlap: the overlap of the patches in px, from 1 to half a patch of the bank, rounded down.
    """

    name: ClassVar[str] = "quilt"
    summary: ClassVar[str] = "Image quilting with patches from a bank of clean images"
    reference: ClassVar[str] = "Guo et al. 2018, arXiv:1711.00117"

    bank: str
    nearest: int = 10
    overlap: int = 2

    def __post_init__(self) -> None:
        """Load the bank.

        Raises:
            DefenseError: a parameter is not allowed, or the file is not a bank that can be read.
        """
        self._require_whole("nearest", 1, MAX_NEAREST)
        try:
            bank = patch_bank.load(self._file_version("bank"))
        except patch_bank.BankError as error:
            raise DefenseError(f"quilt: {self.bank} {error}") from error
        note = f", because the bank's patches have {bank.side_px}"
        self._require_whole("overlap", 1, bank.side_px // 2, what="a whole number of px", note=note)
        object.__setattr__(self, "_bank", bank)

    @property
    def random(self) -> bool:
        """Return False only if always the nearest patch is taken."""
        return self.nearest > 1

    def sample(self, rng: Random, shape: tuple[int, ...]) -> QuiltingDraw:
        """Draw the rank of each patch; see :class:`Operation`."""
        height, width = image_size(shape)
        rows, columns = self._count(height), self._count(width)
        ranks = integers(rng, self.nearest, rows * columns).astype(np.uint8).reshape(rows, columns)
        ranks.flags.writeable = False
        return QuiltingDraw(shape=(height, width), ranks=ranks)

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return the bytes of one search and of the strips; see :class:`Operation`."""
        height, width = shape[:2]
        bank, columns = self._loaded, self._count(width)
        searched = min(_SEARCHED_AT_ONCE + columns, self._count(height) * columns)
        candidates = max(map(len, bank.near))
        strips = 46 * bank.side_px / self._stride * height * width
        return round(strips) + searched * (12 * bank.side_px**2 + 16 * candidates)

    @property
    def _loaded(self) -> PatchBank:
        bank: PatchBank = self.__dict__["_bank"]
        return bank

    @property
    def _stride(self) -> int:
        return self._loaded.side_px - self.overlap

    def _count(self, size: int) -> int:
        """Return how many patches cover a number of px."""
        return max(1, -(-(size - self.overlap) // self._stride))

    def _apply(self, image: Image, params: QuiltingDraw) -> Image:
        height, width = params.shape
        rows, columns = params.ranks.shape
        missing = [
            (0, count * self._stride + self.overlap - size)
            for count, size in ((rows, height), (columns, width))
        ]
        levels = np.pad(to_levels(image), (*missing, (0, 0)), mode="edge")
        strips = self._strips(levels, params.ranks)
        quilt = lay(strips[:, :, None], self.overlap)[:height, 0, :width]
        return from_levels(np.array(quilt, order="C"), image.dtype)

    def _strips(self, levels: NDArray[np.uint8], ranks: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Lay each row of patches as one strip; returns ``(rows, side, width, 3)``."""
        bank, side = self._loaded, self._loaded.side_px
        views = np.lib.stride_tricks.sliding_window_view(levels, (side, side), axis=(0, 1))
        views = views[:: self._stride, :: self._stride].transpose(0, 1, 3, 4, 2)
        strips = np.empty((len(ranks), side, *levels.shape[1:]), np.uint8)
        at_once = max(1, _SEARCHED_AT_ONCE // ranks.shape[1])
        for start in range(0, len(ranks), at_once):
            part = slice(start, start + at_once)
            queries = views[part].reshape(ranks[part].size, -1).astype(np.float32)
            chosen = bank.nearest(queries, ranks[part].ravel().astype(np.intp))
            # A row of patches is laid like a column of patches that is turned on its side.
            patches = bank.patches[chosen].reshape(*ranks[part].shape, side, side, 3)
            turned = lay(patches.transpose(1, 3, 0, 2, 4), self.overlap)
            strips[part] = turned.transpose(1, 2, 0, 3)
        return strips


def lay(strips: NDArray[np.uint8], overlap: int) -> NDArray[np.uint8]:
    """Lay strips below each other so that they overlap, and cut each pair where it fits best.

    Args:
        strips: ``(n, side, runs, width, 3)``, side ≥ 2·overlap; each run is cut independently.
        overlap: the number of lines that two strips share, ≥ 1.

    Returns:
        A new array ``(n·(side - overlap) + overlap, runs, width, 3)``.
    """
    n, side, *line = strips.shape
    stride = side - overlap
    out = np.empty((n * stride + overlap, *line), np.uint8)
    laid = out[:-overlap].reshape(n, stride, *line)
    laid[:] = strips[:, :stride]
    out[-overlap:] = strips[-1, stride:]
    above, below = strips[:-1, stride:], strips[1:, :overlap]
    difference = above.astype(np.float32) - below
    errors = np.einsum("norwc,norwc->wonr", difference, difference)
    runs, width, _ = line
    begins = cuts(errors.reshape(width, overlap, (n - 1) * runs)).reshape(width, n - 1, runs)
    from_above = np.arange(overlap)[:, None, None] < begins.transpose(1, 2, 0)[:, None]
    laid[1:, :overlap] = np.where(from_above[..., None], above, below)
    return out
