"""A bank of patches from clean images, with its file and a search for near patches."""

import io
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from random import Random
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from defenses.draws import integers
from defenses.from_file import FileVersion

MIN_SIDE_PX, MAX_SIDE_PX = 3, 16
MIN_PATCHES, MAX_PATCHES = 100, 100_000

# The largest header of an array that NumPy reads is smaller.
_MAX_HEADER_BYTES = 16 * 1024

Patches = NDArray[np.uint8]
"""``(n, side, side, 3)``, RGB."""

# The index: patches per cell on average, the most cells, and the cells that a query searches.
_PER_CELL, _MOST_CELLS, _SEARCHED_CELLS = 64, 1024, 8
# K-means: the number of rounds, and the most patches that it is trained on.
_ROUNDS, _TRAINED_ON = 4, 16_384


class BankError(Exception):
    """A file is not a valid bank; the message continues after the name of the file."""


@dataclass(frozen=True, eq=False)
class PatchBank:
    """Patches, and an index of k-means cells with the patches in and around each cell.

    As in the published code, the search is approximate, because a query is compared only with the
    patches in the nearest cells. Each load builds the index again, with the same result.

    Attributes:
        patches: all patches.
        centres: the centres of the cells, ``(cells, 3·side²)``.
        near: for each cell, the positions of the patches in it and in the cells nearest to it.
    """

    patches: Patches
    centres: NDArray[np.float32]
    near: Sequence[NDArray[np.intp]]

    @property
    def side_px(self) -> int:
        """Return the side of a patch."""
        return int(self.patches.shape[1])

    @classmethod
    def of(cls, patches: Patches) -> "PatchBank":
        """Index patches.

        Args:
            patches: 100…100,000 square patches of 3…16 px; kept without a copy.

        Raises:
            BankError: the patches have another form or size, or are too few or too many.
        """
        _check(patches.shape, patches.dtype)
        vectors = patches.reshape(len(patches), -1).astype(np.float32)
        centres = _centres(vectors)
        cell = _nearest(vectors, centres)
        members = [np.flatnonzero(cell == index) for index in range(len(centres))]
        around = np.argsort(_distances(centres, centres), axis=1, kind="stable")
        near = []
        for order in around:
            # Take enough cells for MIN_PATCHES, so that every rank below it exists.
            filled_up = np.cumsum([len(members[index]) for index in order])
            cells = max(_SEARCHED_CELLS, int(np.searchsorted(filled_up, MIN_PATCHES)) + 1)
            near.append(np.concatenate([members[index] for index in order[:cells].tolist()]))
        return cls(patches, centres, near)

    def nearest(self, queries: NDArray[np.float32], ranks: NDArray[np.intp]) -> NDArray[np.intp]:
        """Find for each query the near patch of a given rank, by Euclidean distance.

        Args:
            queries: ``(n, 3·side²)`` in [0, 255].
            ranks: ``(n,)``, below 100; 0 is the nearest patch, 1 the second.

        Returns:
            ``(n,)``, the positions of the found patches in the bank.
        """
        chosen = np.empty(len(queries), np.intp)
        cell = _nearest(queries, self.centres)
        order = np.argsort(cell, kind="stable")
        bounds = np.searchsorted(cell[order], np.arange(len(self.centres) + 1))
        deepest = int(ranks.max(initial=0))
        for index in np.flatnonzero(np.diff(bounds)).tolist():
            here = order[bounds[index] : bounds[index + 1]]
            near = self.near[index]
            vectors = self.patches[near].reshape(len(near), -1).astype(np.float32)
            distances = _distances(queries[here], vectors)
            first = np.argpartition(distances, deepest, axis=1)[:, : deepest + 1]
            ranked = np.argsort(np.take_along_axis(distances, first, axis=1), kind="stable")
            best = np.take_along_axis(ranked, ranks[here, None], axis=1)
            chosen[here] = near[np.take_along_axis(first, best, axis=1)[:, 0]]
        return chosen


def gather(images: Iterable[Patches], each: int, side_px: int, rng: Random) -> Iterable[Patches]:
    """Cut patches out of images at uniform places.

    Args:
        images: ``(H, W, 3)``, ``uint8``, with sides of at least ``side_px``.
        each: the number of patches from each image.
        side_px: the side of a patch.
        rng: the source of the randomness.

    Returns:
        The patches of each image.
    """
    for image in images:
        views = np.lib.stride_tricks.sliding_window_view(image, (side_px, side_px), axis=(0, 1))
        y = integers(rng, views.shape[0], each)
        x = integers(rng, views.shape[1], each)
        yield views[y, x].transpose(0, 2, 3, 1).copy()


def write(file: IO[bytes], patches: Patches) -> None:
    """Write the file of a bank, an ``.npz`` with one array."""
    np.savez_compressed(file, patches=patches)


@lru_cache(maxsize=4)
def load(file: FileVersion) -> PatchBank:
    """Read the file of a bank; pickled data is refused.

    Raises:
        BankError: the file is not a valid bank.
    """
    try:
        patches = _read(file.path)
    except BankError:
        raise
    except Exception as error:  # a broken archive can raise almost any exception
        # NumPy's message advises to allow pickles, which is unsafe for a file of unknown origin.
        raise BankError("cannot be read as a bank; 'warpguard quilt-bank' makes one.") from error
    return PatchBank.of(patches)


def _read(path: Path) -> Patches:
    """Read the array of patches, once its header is that of a valid bank."""
    with zipfile.ZipFile(path) as archive:
        try:
            entry = archive.getinfo("patches.npy")
        except KeyError:
            raise BankError(
                "has no array 'patches'; make a bank with 'warpguard quilt-bank'."
            ) from None
        # Python decompresses the other methods without a limit, and a bank does not use them.
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise BankError("is compressed in a way that a bank is not; make a new bank.")
        with archive.open(entry) as member:
            _check(*_header(io.BytesIO(member.read(_MAX_HEADER_BYTES))))
        with archive.open(entry) as member:
            patches: Patches = np.lib.format.read_array(member, allow_pickle=False)
            if member.read(1):
                raise BankError("has bytes after its patches; make a new bank.")
    return patches


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Read the shape and the dtype of an array in NumPy's format."""
    version = np.lib.format.read_magic(file)
    read = {
        (1, 0): np.lib.format.read_array_header_1_0,
        (2, 0): np.lib.format.read_array_header_2_0,
    }[version]
    shape, _, dtype = read(file)
    return shape, dtype


def _check(shape: tuple[int, ...], dtype: np.dtype[Any]) -> None:
    """Check the form and the size of patches.

    Raises:
        BankError: they are not those of a valid bank.
    """
    if dtype != np.uint8 or len(shape) != 4 or shape[3] != 3:
        raise BankError(
            f"holds {dtype!s:.40} of shape {shape!s:.80} as its patches; they must be uint8 of "
            "shape (n, side, side, 3)."
        )
    count, side, other, _ = shape
    if side != other or not MIN_SIDE_PX <= side <= MAX_SIDE_PX:
        raise BankError(
            f"has patches of {side}x{other} px; they must be square, of "
            f"{MIN_SIDE_PX}…{MAX_SIDE_PX} px."
        )
    if not MIN_PATCHES <= count <= MAX_PATCHES:
        raise BankError(f"has {count} patches; it must have {MIN_PATCHES:,}…{MAX_PATCHES:,}.")


def _centres(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Find by k-means the centres of cells of about 64 vectors each; no cell is empty."""
    cells = min(_MOST_CELLS, max(1, len(vectors) // _PER_CELL))
    sample = vectors[:: -(-len(vectors) // _TRAINED_ON)]
    centres = sample[:: max(1, len(sample) // cells)][:cells].copy()
    for _ in range(_ROUNDS):
        cell = _nearest(sample, centres)
        order = np.argsort(cell, kind="stable")
        _, starts, sizes = np.unique(cell[order], return_index=True, return_counts=True)
        sums = np.add.reduceat(sample[order], starts, axis=0)
        centres = (sums / sizes[:, None]).astype(np.float32)
    return centres


def _nearest(vectors: NDArray[np.float32], centres: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return for each vector the position of the nearest centre."""
    found = np.empty(len(vectors), np.intp)
    for start in range(0, len(vectors), 4096):
        part = slice(start, start + 4096)
        found[part] = _distances(vectors[part], centres).argmin(axis=1)
    return found


def _distances(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return squared distances ``(len(a), len(b))`` without |a|², which no order depends on."""
    between: NDArray[np.float32] = a @ (-2 * b.T)
    between += np.einsum("ij,ij->i", b, b)
    return between
