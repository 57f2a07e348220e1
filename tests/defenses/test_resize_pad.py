from random import Random

import cv2
import numpy as np
import pytest

from defenses import RandomResizePad
from defenses.resize_pad import ResizePadDraw


def test_the_drawn_ranges_are_those_of_the_paper():
    operation = RandomResizePad()
    rng = Random(0)
    draws = [operation.sample(rng, (299, 299)) for _ in range(20000)]
    assert {draw.resized[0] for draw in draws} == set(range(299, 331))
    assert all(draw.resized[0] == draw.resized[1] for draw in draws)
    assert {draw.canvas for draw in draws} == {(400, 400)}
    offsets = [draw.offset for draw in draws if draw.resized[0] == 330]
    assert {top for top, _ in offsets} == set(range(71))
    assert {left for _, left in offsets} == set(range(71))


def test_other_sizes_scale():
    draw = RandomResizePad().sample(Random(0), (598, 299))
    assert draw.canvas == (800, 400)
    assert draw.resized[1] == pytest.approx(draw.resized[0] / 2, abs=0.5)
    small = [RandomResizePad().sample(Random(seed), (8, 8)) for seed in range(200)]
    assert {draw.canvas for draw in small} == {(11, 11)}
    assert {draw.resized for draw in small} == {(8, 8), (9, 9)}


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_equals_nearest_resize_pad_bilinear_resize(dtype):
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (299, 299, 3), dtype=np.uint8)
    if dtype is np.float32:
        image = image / np.float32(255)
    draw = ResizePadDraw(shape=(299, 299), resized=(317, 317), offset=(11, 70), canvas=(400, 400))
    canvas = np.full((400, 400, 3), 128 if dtype is np.uint8 else 0.5, dtype)
    nearest = cv2.resize(image, (317, 317), interpolation=cv2.INTER_NEAREST)
    canvas[11 : 11 + 317, 70 : 70 + 317] = nearest
    expected = cv2.resize(canvas, (299, 299), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(RandomResizePad().apply(image, draw), expected)


def test_the_canvas_shows_around_the_image():
    image = np.full((299, 299, 3), 255, np.uint8)
    draw = ResizePadDraw(shape=(299, 299), resized=(299, 299), offset=(101, 0), canvas=(400, 400))
    defended = RandomResizePad(value=0.2).apply(image, draw)
    assert np.all(defended[:75] == 51)
    assert np.all(defended[76:, :223] == 255)
    assert np.all(defended[:, 225:] == 51)


def test_without_room_it_is_the_identity():
    image = np.random.default_rng(0).integers(0, 256, (101, 99, 3), dtype=np.uint8)
    operation = RandomResizePad(largest=299, canvas=299)
    assert not operation.random
    np.testing.assert_array_equal(operation(image, Random(0)), image)
