from random import Random

import cv2
import numpy as np
import pytest

from defenses import Quilting, patch_bank
from defenses.quilting import QuiltingDraw, lay


def photograph(size=(60, 71)):
    noise = np.random.default_rng(1).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)


@pytest.fixture
def of_image(tmp_path):
    """Make a quilting whose bank holds every patch of an image."""

    def made(image, side=5, **options):
        views = np.lib.stride_tricks.sliding_window_view(image, (side, side), axis=(0, 1))
        path = tmp_path / "bank.npz"
        with path.open("wb") as file:
            patch_bank.write(file, views.reshape(-1, 3, side, side).transpose(0, 2, 3, 1))
        return Quilting(bank=str(path), **options)

    return made


@pytest.mark.parametrize(("side", "overlap"), [(5, 2), (5, 1), (4, 2), (8, 3)])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_an_image_is_quilted_into_itself_from_its_own_patches(side, overlap, dtype, of_image):
    stride = side - overlap
    image = photograph((7 * stride + overlap, 9 * stride + overlap))
    operation = of_image(image, side, nearest=1, overlap=overlap)
    assert not operation.random
    values = image if dtype is np.uint8 else image / np.float32(255)
    np.testing.assert_allclose(operation(values, Random()), values, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 8), (8, 31), (60, 71), (61, 70)])
def test_every_pixel_is_covered_and_near_the_image(size, of_image):
    image = photograph(size)
    operation = of_image(photograph((90, 90)))
    assert operation.random
    quilted = operation(image, Random(0)).astype(int)
    assert not np.array_equal(quilted, image)
    assert np.abs(quilted - image).mean() < 40


def test_the_rank_decides_which_patch_is_laid():
    operation = Quilting(bank="bank.npz")
    image = photograph()
    errors = []
    for rank in (0, 9, 99):
        draw = operation.sample(Random(0), image.shape)
        draw = QuiltingDraw(shape=draw.shape, ranks=np.full_like(draw.ranks, rank))
        errors.append(np.abs(operation.apply(image, draw).astype(int) - image).mean())
    assert errors == sorted(errors)
    assert errors[0] < errors[2]


def test_ranks_are_uniform():
    ranks = Quilting(bank="bank.npz").sample(Random(0), (602, 602)).ranks
    assert ranks.shape == (200, 200)
    counts = np.bincount(ranks.ravel(), minlength=10)
    assert len(counts) == 10
    assert np.abs(counts - 4000).max() < 5 * np.sqrt(4000)


def test_a_large_image_is_searched_in_parts():
    """The result equals that of the upper part alone, except at the lower end of the part."""
    operation = Quilting(bank="bank.npz", nearest=1)
    image = np.tile(photograph((5, 500)), (200, 1, 1))
    assert operation.sample(Random(), image.shape).ranks.size > 2 * 16_384
    quilted = operation(image, Random())
    np.testing.assert_array_equal(quilted[:590], operation(image[:600], Random())[:590])


@pytest.mark.parametrize("runs", [1, 3])
def test_strips_are_cut_where_they_agree(runs):
    """Two strips differ everywhere except along a line in the overlap."""
    strips = np.zeros((2, 8, runs, 9, 3), np.uint8)
    strips[1] = 200
    valley = np.array([0, 1, 2, 3, 2, 1, 0, 1, 2])
    strips[1, valley, :, np.arange(9)] = 0
    laid = lay(strips, 4)
    assert laid.shape == (12, runs, 9, 3)
    for x, line in enumerate(valley):
        assert not laid[: 4 + line + 1, :, x].any()
        below = strips[1, line + 1 :, :, x]
        np.testing.assert_array_equal(laid[4 + line + 1 :, :, x], below)


def test_a_single_strip_stays_as_it_is():
    strip = np.random.default_rng(0).integers(0, 256, (1, 5, 2, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(lay(strip, 2), strip[0])
