"""RDG, Random Distortion over Grids (Qiu et al. 2020, arXiv 2005.13712, Algorithm 1)."""

from dataclasses import dataclass
from random import Random
from typing import ClassVar

import numpy as np

from defenses.index_maps import IndexMap, gather, scatter_add
from defenses.operation import Draw, Gradient, Image, ImageError, Operation, image_size

CORNERS = ("random", "top-left", "top-right", "bottom-left", "bottom-right")


@dataclass(frozen=True, eq=False)
class GridDistortionDraw(Draw):
    """The index maps of one distortion; output pixel (i, j) reads (rows[i], columns[j])."""

    rows: IndexMap
    columns: IndexMap


@dataclass(frozen=True)
class RandomGridDistortion(Operation[GridDistortionDraw]):
    """Stretch and squeeze the cells of a grid at random, separately for rows and columns.

    The output is cut into cells of d px. Each cell reads from a source interval of length
    d·(1 + U(-delta, delta)). The intervals lie end to end from the starting corner, and the last,
    partial cell runs to the edge of the image. Positions within a cell are interpolated linearly,
    rounded to integers (half to even) and clamped to the image. A start at the bottom or at the
    right flips the map of that axis, not the picture.

    Attributes:
        delta: the distortion limit, in [0, 1].
        cell: the cell size d in px; None stands for a tenth of each side (29 px at 299).
        corner: the corner where the grid starts, or "random" for a new choice in each draw.
    """

    name: ClassVar[str] = "rdg"
    summary: ClassVar[str] = "Random Distortion over Grids: random stretching of a grid's cells"
    reference: ClassVar[str] = "Qiu et al. 2020, arXiv:2005.13712"

    delta: int | float = 0.15
    cell: int | None = None
    corner: str = "random"

    def __post_init__(self) -> None:
        self._require_number("delta", 0, 1)
        whole = isinstance(self.cell, int) and not isinstance(self.cell, bool) and self.cell >= 1
        rule = "a whole number of px, 1 or more, or None for a tenth of each side"
        self._require(self.cell is None or whole, "cell", rule)
        self._require(self.corner in CORNERS, "corner", f"one of {', '.join(CORNERS)}")

    @property
    def random(self) -> bool:
        """Return False only if nothing is distorted."""
        return self.delta > 0

    def sample(self, rng: Random, shape: tuple[int, ...]) -> GridDistortionDraw:
        """Draw the starting corner and the source intervals; see :class:`Operation`."""
        height, width = image_size(shape)
        if self.cell is not None and self.cell > min(height, width):
            raise ImageError(
                f"rdg: cell is {self.cell} px, larger than the image of {shape[:2]} px."
            )
        corner = rng.choice(CORNERS[1:]) if self.corner == "random" else self.corner
        return GridDistortionDraw(
            shape=(height, width),
            rows=self._axis(rng, height, flipped=corner.startswith("bottom")),
            columns=self._axis(rng, width, flipped=corner.endswith("right")),
        )

    def _axis(self, rng: Random, size: int, *, flipped: bool) -> IndexMap:
        cell = self.cell or max(1, size // 10)
        count = size // cell
        lengths = [cell * (1 + rng.uniform(-self.delta, self.delta)) for _ in range(count)]
        output_edges = cell * np.arange(count + 1.0)
        source_edges = np.cumsum([0.0, *lengths])
        if size % cell:
            output_edges = np.append(output_edges, size)
            source_edges = np.append(source_edges, size)
        positions = np.interp(np.arange(size), output_edges, source_edges)
        index: IndexMap = np.clip(np.rint(positions), 0, size - 1).astype(np.intp)
        if flipped:
            index = size - 1 - index[::-1]
        index.flags.writeable = False
        return index

    def memory_bytes(self, shape: tuple[int, ...]) -> int:
        """Return 7 bytes for each pixel; see :class:`Operation`."""
        return 7 * shape[0] * shape[1]

    def _apply(self, image: Image, params: GridDistortionDraw) -> Image:
        return gather(image, params.rows, params.columns)

    def _vjp(self, grad: Gradient, params: GridDistortionDraw) -> Gradient:
        """Apply the exact transpose, a scatter-add along each of the two index maps."""
        height, width = params.shape
        return scatter_add(scatter_add(grad, params.columns, width, 1), params.rows, height, 0)
