from random import Random

import cv2
import numpy as np
import pytest

from defenses import RandomCrop
from defenses.crop import CropDraw


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equals_a_crop_and_a_bilinear_resize(dtype):
    image = np.random.default_rng(0).integers(0, 256, (101, 99, 3), dtype=np.uint8)
    if dtype is np.float32:
        image = image / np.float32(255)
    draw = CropDraw(shape=(101, 99), size=(81, 79), offset=(20, 3))
    crop = np.ascontiguousarray(image[20:101, 3:82])
    expected = cv2.resize(crop, (99, 101), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(RandomCrop().apply(image, draw), expected)


def test_all_places_are_drawn():
    operation = RandomCrop(fraction=0.9)
    rng = Random(0)
    draws = [operation.sample(rng, (50, 40)) for _ in range(3000)]
    assert {draw.size for draw in draws} == {(45, 36)}
    assert {draw.offset for draw in draws} == {(y, x) for y in range(6) for x in range(5)}


def test_without_cropping_it_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (101, 99, 3), dtype=np.uint8)
    operation = RandomCrop(fraction=1)
    assert not operation.random
    defended = operation(image, Random(0))
    np.testing.assert_array_equal(defended, image)
    assert not np.shares_memory(defended, image)


def test_the_smallest_crop_is_one_pixel():
    image = np.random.default_rng(0).integers(0, 256, (8, 9, 3), dtype=np.uint8)
    operation = RandomCrop(fraction=0.01)
    draw = operation.sample(Random(1), image.shape)
    assert draw.size == (1, 1)
    assert np.all(operation.apply(image, draw) == image[draw.offset])
