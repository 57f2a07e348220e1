import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from models import GraphInput, Manifest, Resize, Scaling, fit, to_tensor


def manifest(height=60, width=60, *, layout="NCHW", mode="crop", crop_fraction=1.0):
    return Manifest(
        name="any",
        input=GraphInput(layout=layout, height_px=height, width_px=width),
        resize=Resize(mode=mode, crop_fraction=crop_fraction),
        scaling=Scaling(mean=(123.675, 116.28, 103.53), std=(58.395, 57.12, 57.375)),
    )


def noise(height, width, dtype=np.uint8):
    image = np.random.default_rng(height * 7919 + width).integers(
        0, 256, (height, width, 3), np.uint8
    )
    return image if dtype == np.uint8 else (image / 255).astype(np.float32)


def positions(height, width):
    """Make an image whose red is the row and whose green is the column, both from 0 to 1."""
    image = np.zeros((height, width, 3), np.float32)
    image[..., 0] = ((np.arange(height) + 0.5) / height)[:, None]
    image[..., 1] = (np.arange(width) + 0.5) / width
    return image


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("mode", ["crop", "squash"])
def test_an_image_of_the_models_size_is_returned_unchanged(dtype, mode):
    image = noise(60, 60, dtype)
    assert fit(image, manifest(mode=mode, crop_fraction=0.5)) is image


@given(
    st.integers(1, 200),
    st.integers(1, 200),
    st.integers(8, 90),
    st.integers(8, 90),
    st.sampled_from(["crop", "squash"]),
    st.floats(0.01, 1),
    st.sampled_from([np.uint8, np.float32]),
)
def test_every_image_fits(height, width, to_height, to_width, mode, fraction, dtype):
    image = noise(height, width, dtype)
    before = image.copy()
    fitted = fit(image, manifest(to_height, to_width, mode=mode, crop_fraction=fraction))
    assert fitted.shape == (to_height, to_width, 3)
    assert fitted.dtype == dtype
    assert fitted.min() >= 0
    assert fitted.max() <= (255 if dtype == np.uint8 else 1)
    np.testing.assert_array_equal(image, before)


@pytest.mark.parametrize(
    ("shape", "mode", "fraction", "rows", "columns"),
    [
        # the visible part of the image, from top to bottom and from left to right
        ((200, 400), "squash", 0.5, (0.0, 1.0), (0.0, 1.0)),
        ((200, 400), "crop", 1.0, (0.0, 1.0), (0.25, 0.75)),
        ((400, 200), "crop", 1.0, (0.25, 0.75), (0.0, 1.0)),
        ((240, 240), "crop", 0.5, (0.25, 0.75), (0.25, 0.75)),
        ((240, 480), "crop", 0.875, (0.0625, 0.9375), (0.28125, 0.71875)),
        ((30, 30), "crop", 1.0, (0.0, 1.0), (0.0, 1.0)),
        ((30, 240), "squash", 1.0, (0.0, 1.0), (0.0, 1.0)),
    ],
)
def test_which_part_is_visible(shape, mode, fraction, rows, columns):
    fitted = fit(positions(*shape), manifest(mode=mode, crop_fraction=fraction))
    for axis, (start, end) in enumerate((rows, columns)):
        expected = start + (end - start) * (np.arange(60) + 0.5) / 60
        seen = fitted[..., axis].mean(axis=1 - axis)
        np.testing.assert_allclose(seen[3:-3], expected[3:-3], atol=0.005)


def test_the_crop_has_the_inputs_proportions():
    fitted = fit(positions(300, 300), manifest(40, 80))
    assert fitted[0, 0, 0] == pytest.approx(0.25, abs=0.02)
    assert fitted[-1, -1, 0] == pytest.approx(0.75, abs=0.02)
    assert fitted[0, 0, 1] == pytest.approx(0.0, abs=0.02)


def test_shrinking_averages():
    """When an image shrinks by a whole number, every pixel is the mean of a square."""
    image = noise(180, 180, np.float32)
    means = image.reshape(60, 3, 60, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(fit(image, manifest()), means, atol=1e-6)


def test_growing_is_bicubic_and_clipped():
    image = (noise(20, 20) > 127).astype(np.float32)
    cubic = cv2.resize(image, (60, 60), interpolation=cv2.INTER_CUBIC)
    assert cubic.max() > 1.05
    np.testing.assert_array_equal(fit(image, manifest()), cubic.clip(0, 1))


def test_one_axis_shrinks_while_the_other_grows():
    image = noise(180, 20, np.float32)
    means = image.reshape(60, 3, 20, 3).mean(axis=1)
    cubic = cv2.resize(means, (60, 60), interpolation=cv2.INTER_CUBIC).clip(0, 1)
    np.testing.assert_allclose(fit(image, manifest(mode="squash")), cubic, atol=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("view", [False, True])
def test_to_tensor(layout, view):
    image = noise(30, 80)[:, ::2] if view else noise(30, 40)
    tensor = to_tensor(image, manifest(30, 40, layout=layout))
    scaled = (image - np.array([123.675, 116.28, 103.53])) / [58.395, 57.12, 57.375]
    expected = scaled.transpose(2, 0, 1) if layout == "NCHW" else scaled
    assert tensor.dtype == np.float32
    assert tensor.flags.c_contiguous
    assert tensor.shape == expected.shape
    np.testing.assert_allclose(tensor, expected, atol=1e-5)
    as_float = (image / 255).astype(np.float32)
    np.testing.assert_allclose(to_tensor(as_float, manifest(layout=layout)), tensor, atol=1e-5)


@pytest.mark.parametrize(
    "image",
    [
        np.zeros((60, 60), np.uint8),
        np.zeros((60, 60, 4), np.uint8),
        np.zeros((3, 60, 60), np.uint8),
        np.zeros((60, 60, 3), np.float64),
        np.zeros((60, 60, 3), np.int32),
    ],
)
def test_an_array_that_is_not_an_image_is_refused(image):
    for function in (fit, to_tensor):
        with pytest.raises(ValueError, match="An image must be uint8 or float32 of shape"):
            function(image, manifest())
