import numpy as np
import pytest

from harness.reproduce.changes import cut_off, moved


@pytest.fixture
def image():
    return np.random.default_rng(0).random((41, 37, 3)).astype(np.float32)


def test_an_image_moves_two_pixels_right_and_down(image):
    shifted = moved(image)
    assert shifted.shape == image.shape
    np.testing.assert_array_equal(shifted[2:, 2:], image[:-2, :-2])


def test_cutting_bits_off_darkens_by_half_a_level_on_average():
    ramp = np.linspace(0, 1, 10_000, dtype=np.float32).reshape(100, 100, 1).repeat(3, axis=2)
    cut = cut_off(ramp)
    assert len(np.unique(cut)) == 8
    assert (cut <= ramp).all()
    assert float((ramp - cut).mean()) == pytest.approx(1 / 16, abs=1e-3)
    # This is the value for a uniform remainder in [0, 1/8); the paper has 0.0709.
    assert float(np.sqrt(np.mean((ramp - cut) ** 2))) == pytest.approx(1 / 8 / 3**0.5, abs=1e-3)
