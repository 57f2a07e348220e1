from random import Random

import cv2
import numpy as np
import pytest

from defenses import DefenseError, ImageError, JpegCompression, Pipeline, Shield
from defenses.shield import ShieldDraw

QUALITIES = (20, 40, 60, 80)


def photograph(size=(101, 99)):
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_with_one_quality_it_is_jpeg(dtype):
    image = photograph() if dtype is np.uint8 else photograph() / np.float32(255)
    operation = Shield(qualities=35)
    assert not operation.random
    np.testing.assert_array_equal(operation(image, Random(0)), JpegCompression(35)(image, Random()))


def test_each_block_has_the_drawn_quality():
    image = photograph()
    operation = Shield()
    draw = operation.sample(Random(0), image.shape)
    assert draw.choices.shape == (13, 13)
    defended = operation.apply(image, draw)
    compressed = [JpegCompression(quality)(image, Random()) for quality in QUALITIES]
    for y in range(13):
        for x in range(13):
            block = (slice(8 * y, 8 * y + 8), slice(8 * x, 8 * x + 8))
            np.testing.assert_array_equal(
                defended[block], compressed[draw.choices[y, x]][block], err_msg=f"{y}, {x}"
            )


def test_every_quality_can_be_chosen_for_a_whole_image():
    image = photograph((16, 16))
    for index, quality in enumerate(QUALITIES):
        draw = ShieldDraw(shape=(16, 16), choices=np.full((2, 2), index, np.uint8))
        expected = JpegCompression(quality)(image, Random())
        np.testing.assert_array_equal(Shield().apply(image, draw), expected)


def test_the_qualities_are_equally_likely_and_independent():
    operation = Shield()
    rng = Random(5)
    choices = np.array([operation.sample(rng, (80, 80)).choices for _ in range(400)])
    counts = np.bincount(choices.ravel(), minlength=4)
    assert len(counts) == 4
    assert np.abs(counts - 10_000).max() < 5 * np.sqrt(40_000 * 3 / 16)
    pairs = np.bincount((4 * choices[..., :-1] + choices[..., 1:]).ravel(), minlength=16)
    assert np.abs(pairs - 36_000 / 16).max() < 5 * np.sqrt(36_000 / 16)


def test_a_single_quality_is_the_same_as_a_number_or_as_text():
    assert (
        Shield(qualities="75")
        == Shield(qualities=75)
        == Pipeline.parse("shield(qualities=75)").operations[0]
    )
    assert str(Shield(qualities="020-40-60-80")) == "shield"
    assert str(Shield(qualities="5-100")) == "shield(qualities=5-100)"


@pytest.mark.parametrize(
    "qualities", ["", "-", "20-", "20-20", "0-20", "20,40", "a", True, 7.5, "9" * 5000]
)
def test_an_invalid_list_of_qualities_is_refused(qualities):
    with pytest.raises(DefenseError, match="shield: qualities must be different whole numbers"):
        Shield(qualities=qualities)


def test_a_side_over_the_limit_of_the_codec_is_refused():
    with pytest.raises(ImageError, match="at most 65500 px"):
        Shield().sample(Random(), (8, 65_501))
