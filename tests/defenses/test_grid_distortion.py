from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from defenses import ImageError, RandomGridDistortion
from defenses.grid_distortion import CORNERS


class Scripted(Random):
    """A generator that returns the same relative position in each range."""

    def __init__(self, place):
        super().__init__()
        self.place = place

    def uniform(self, a, b):
        return a + (b - a) * self.place


def test_known_answer_with_every_cell_stretched():
    """Cells of 3 px read 3·1.15 px each; the last, partial cell runs to the edge and is clamped."""
    operation = RandomGridDistortion(delta=0.15, cell=3, corner="top-left")
    draw = operation.sample(Scripted(1.0), (10, 10))
    #         cell 0: 0, 1.15, 2.3 | 3.45, 4.6, 5.75 | 6.9, 8.05, 9.2 | 10.35 -> clamped
    np.testing.assert_array_equal(draw.rows, [0, 1, 2, 3, 5, 6, 7, 8, 9, 9])
    np.testing.assert_array_equal(draw.columns, draw.rows)


def test_known_answer_with_every_cell_squeezed():
    operation = RandomGridDistortion(delta=0.5, cell=4, corner="top-left")
    draw = operation.sample(Scripted(0.0), (10, 12))
    # cells of 4 px read 2 px each: 0, 0.5, 1, 1.5 | 2, 2.5, 3, 3.5 | then 4…10 in 2 px: 4, 7
    np.testing.assert_array_equal(draw.rows, [0, 0, 1, 2, 2, 2, 3, 4, 4, 7])
    # 12 px are three whole cells, so no partial cell stretches to the edge
    np.testing.assert_array_equal(draw.columns, [0, 0, 1, 2, 2, 2, 3, 4, 4, 4, 5, 6])


def test_the_corner_flips_the_map_and_not_the_picture():
    def maps(corner):
        draw = RandomGridDistortion(corner=corner).sample(Random(4), (101, 99))
        return draw.rows, draw.columns

    rows, columns = maps("top-left")
    for corner in CORNERS[1:]:
        expected_rows = 100 - rows[::-1] if corner.startswith("bottom") else rows
        expected_columns = 98 - columns[::-1] if corner.endswith("right") else columns
        np.testing.assert_array_equal(maps(corner)[0], expected_rows)
        np.testing.assert_array_equal(maps(corner)[1], expected_columns)


def test_all_four_corners_are_drawn_equally_often():
    """Squeezed to half, the partial cell at the far end makes the only step of many pixels."""
    operation = RandomGridDistortion(delta=0.5, cell=29)
    corners = []
    rng = Scripted(0.0)
    rng.seed(11)
    for _ in range(4000):
        draw = operation.sample(rng, (299, 299))
        far = [int(np.argmax(np.diff(index))) > 150 for index in (draw.rows, draw.columns)]
        corners.append(tuple(far))
    counts = [corners.count((a, b)) for a in (True, False) for b in (True, False)]
    assert sum(counts) == 4000
    assert min(counts) > 1000 - 5 * np.sqrt(4000 * 3 / 16)


@pytest.mark.parametrize("corner", CORNERS)
def test_without_distortion_it_is_the_identity(corner):
    image = np.random.default_rng(0).integers(0, 256, (101, 99, 3), dtype=np.uint8)
    operation = RandomGridDistortion(delta=0, corner=corner)
    np.testing.assert_array_equal(operation(image, Random(0)), image)


@given(
    height=st.integers(8, 320),
    width=st.integers(8, 320),
    delta=st.floats(0, 1),
    seed=st.integers(0, 2**32),
)
def test_maps_stay_inside_and_never_turn_back(height, width, delta, seed):
    draw = RandomGridDistortion(delta=delta).sample(Random(seed), (height, width))
    for index, size in ((draw.rows, height), (draw.columns, width)):
        assert index.shape == (size,)
        assert index.min() >= 0
        assert index.max() < size
        assert np.all(np.diff(index) >= 0)
        assert not index.flags.writeable


def test_displacement_is_that_of_the_paper():
    """At 299 px the end of cell k is displaced with a deviation of 29·0.15·sqrt(k / 3) px."""
    operation = RandomGridDistortion(corner="top-left")
    rng = Random(0)
    rows = np.array([operation.sample(rng, (299, 299)).rows for _ in range(4000)])
    for cell in (1, 4, 9):
        displacement = rows[:, 29 * cell] - 29 * cell
        assert abs(displacement.mean()) < 0.4
        assert displacement.std() == pytest.approx(29 * 0.15 * np.sqrt(cell / 3), rel=0.06)


def test_reads_whole_pixels():
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    operation = RandomGridDistortion()
    draw = operation.sample(Random(0), image.shape)
    defended = operation.apply(image, draw)
    for y, x in ((0, 0), (13, 49), (39, 20)):
        np.testing.assert_array_equal(defended[y, x], image[draw.rows[y], draw.columns[x]])


def test_a_cell_larger_than_the_image_is_refused():
    with pytest.raises(ImageError, match="cell is 60 px"):
        RandomGridDistortion(cell=60).sample(Random(0), (50, 100, 3))
