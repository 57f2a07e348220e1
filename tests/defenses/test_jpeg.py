from random import Random

import cv2
import numpy as np
import pytest

from defenses import ImageError, JpegCompression
from defenses.jpeg import SUBSAMPLING


def colours(size=(101, 99)):
    """Return a smooth image with different channels, so that swaps and subsampling show."""
    noise = np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 2)


def distance(a, b):
    return np.sqrt(np.mean((a.astype(float) - b) ** 2))


@pytest.mark.parametrize("quality", [1, 20, 75, 100])
def test_equals_a_round_trip_through_opencv(quality):
    image = colours()
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, quality])
    expected = cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]
    np.testing.assert_array_equal(JpegCompression(quality)(image, Random()), expected)


def test_float32_is_rounded_to_eight_bits_on_the_way_in():
    image = colours()
    rounding = np.random.default_rng(1).uniform(-0.4, 0.4, image.shape)
    close = np.clip((image + rounding) / 255, 0, 1).astype(np.float32)
    defended = JpegCompression()(close, Random())
    np.testing.assert_allclose(255 * defended, JpegCompression()(image, Random()), atol=1e-4)


def test_red_stays_red():
    image = np.zeros((32, 32, 3), np.uint8)
    image[..., 0] = 200
    red, green, blue = JpegCompression()(image, Random())[16, 16].astype(int)
    assert abs(red - 200) < 5
    assert max(green, blue) < 5


def test_a_better_quality_and_finer_chroma_are_closer_to_the_image():
    image = colours()
    by_quality = [distance(JpegCompression(q)(image, Random()), image) for q in (10, 40, 75, 95)]
    assert by_quality == sorted(by_quality, reverse=True)
    by_chroma = {
        subsampling: distance(JpegCompression(90, subsampling)(image, Random()), image)
        for subsampling in SUBSAMPLING
    }
    assert by_chroma[444] < min(by_chroma[422], by_chroma[440])
    assert max(by_chroma[422], by_chroma[440]) < min(by_chroma[420], by_chroma[411])


def test_a_side_over_the_limit_of_the_codec_is_refused():
    operation = JpegCompression()
    assert operation.sample(Random(), (8, 65_500)).shape == (8, 65_500)
    with pytest.raises(ImageError, match="at most 65500 px"):
        operation.sample(Random(), (65_501, 8))
