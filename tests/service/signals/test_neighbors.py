"""The two rules that say which images are alike."""

import numpy as np
import pytest

from service.signals.neighbors import is_blank, same_direction, same_picture


def test_one_block_decides():
    kept = np.full((3, 12), 100, np.uint8)
    kept[1, 7] = 117
    kept[2, 7] = 118
    assert same_picture(kept, np.full(12, 100, np.uint8)).tolist() == [True, True, False]
    kept[1:, 7] = 83, 82
    assert same_picture(kept, np.full(12, 100, np.uint8)).tolist() == [True, True, False]


def test_levels_do_not_wrap_around():
    kept = np.array([[0], [255], [238]], np.uint8)
    assert same_picture(kept, np.array([255], np.uint8)).tolist() == [False, True, True]


@pytest.mark.parametrize(("cosine", "alike"), [(0.70, False), (0.74, True), (-1.0, False)])
def test_directions_are_compared_by_their_cosine(cosine, alike):
    one, other = np.zeros((2, 128), np.float16)
    one[0] = 1
    other[:2] = cosine, np.sqrt(1 - cosine**2)
    assert same_direction(one[None], other).tolist() == [alike]
    assert same_direction(np.zeros((1, 128), np.float16), other).tolist() == [False]


@pytest.mark.parametrize(("spread", "blank"), [(0, True), (33, True), (34, False)])
def test_an_image_of_nearly_equal_blocks_is_blank(spread, blank):
    assert is_blank(np.array([10, 10 + spread, 12], np.uint8)) == blank
