from random import Random

import numpy as np
import pytest

from defenses import BitDepthReduction


def test_known_pixels():
    """Three bits are the levels k / 7: 0, 36, 73, 109, 146, 182, 219, 255."""
    image = np.zeros((8, 8, 3), np.uint8)
    image[0] = [[0, 18, 19], [36, 54, 55], [73, 91, 92], [128, 146, 200]] * 2
    expected = [[0, 0, 36], [36, 36, 73], [73, 73, 109], [146, 146, 182]] * 2
    np.testing.assert_array_equal(BitDepthReduction()(image, Random())[0], expected)


@pytest.mark.parametrize("bits", range(1, 9))
def test_there_are_as_many_levels_as_the_bits_allow_and_each_value_goes_to_the_nearest(bits):
    operation = BitDepthReduction(bits=bits)
    image = np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, axis=2)
    reduced = operation(image, Random())
    levels = np.unique(reduced)
    assert len(levels) == 2**bits
    assert {levels[0], levels[-1]} == {0, 255}

    exact = np.arange(2**bits) / (2**bits - 1) * 255
    distance = np.abs(image[..., None] - exact).min(-1)
    np.testing.assert_allclose(np.abs(reduced.astype(float) - image), distance, atol=0.5)
    np.testing.assert_array_equal(operation(reduced, Random()), reduced)


def test_eight_bits_change_no_uint8_image():
    image = np.random.default_rng(0).integers(0, 256, (101, 99, 3), dtype=np.uint8)
    np.testing.assert_array_equal(BitDepthReduction(bits=8)(image, Random()), image)


def test_float32_takes_the_exact_levels():
    image = np.random.default_rng(0).random((101, 99, 3), np.float32)
    reduced = BitDepthReduction(bits=2)(image, Random())
    np.testing.assert_allclose(np.unique(reduced), [0, 1 / 3, 2 / 3, 1], atol=1e-7)
    assert np.abs(reduced - image).max() <= 1 / 6 + 1e-6
