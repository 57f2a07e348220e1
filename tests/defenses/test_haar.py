import numpy as np
import pytest

from defenses.haar import denoise


def shrink(plane, variance, levels):
    """Compute the definition with transform matrices in double precision."""
    padded = np.pad(plane, [(0, size % 2) for size in plane.shape], mode="edge")
    left, right = (haar_matrix(size) for size in padded.shape)
    coefficients = left @ padded @ right.T
    half = padded.shape[0] // 2, padded.shape[1] // 2
    first, second = slice(None, half[0]), slice(half[0], None)
    near, far = slice(None, half[1]), slice(half[1], None)
    for band in ((first, far), (second, near), (second, far)):
        details = coefficients[band]
        signal = np.mean(details**2) - variance
        threshold = variance / np.sqrt(signal) if signal > 0 else np.inf
        coefficients[band] = np.sign(details) * np.maximum(np.abs(details) - threshold, 0)
    if levels > 1:
        coefficients[first, near] = shrink(coefficients[first, near], variance, levels - 1)
    return (left.T @ coefficients @ right)[: plane.shape[0], : plane.shape[1]]


def haar_matrix(size):
    """Return the orthonormal matrix of the sums, then the differences, of neighbouring pairs."""
    pairs = np.kron(np.eye(size // 2), [1, 1]), np.kron(np.eye(size // 2), [1, -1])
    return np.concatenate(pairs) / np.sqrt(2)


def reference(image, sigma, levels):
    """Compute it in luma and colour differences, whose scale does not matter."""
    luma = np.array([0.299, 0.587, 0.114])
    matrix = np.array([luma, [0, 0, 1] - luma, [1, 0, 0] - luma])
    channels = np.moveaxis(image.astype(np.float64) @ matrix.T, -1, 0)
    variances = sigma**2 * (matrix**2).sum(1)
    shrunk = [shrink(c, v, levels) for c, v in zip(channels, variances, strict=True)]
    return np.stack(shrunk, axis=-1) @ np.linalg.inv(matrix).T


@pytest.mark.parametrize("sigma", [0.01, 0.04, 0.3])
@pytest.mark.parametrize(
    ("size", "levels"),
    [((299, 299), 5), ((101, 99), 3), ((64, 200), 3), ((16, 40), 1), ((9, 17), 1), ((8, 8), 1)],
)
def test_equals_the_definition(size, levels, sigma):
    generator = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = np.stack([np.sin(x / 9 + c) * np.cos(y / 13 - c) for c in range(3)], axis=-1)
    image = (0.5 + 0.4 * waves + generator.normal(0, 0.04, waves.shape)).astype(np.float32)
    denoised = denoise(image, sigma)
    assert denoised.dtype == np.float32
    assert np.abs(denoised - image).max() > sigma / 10
    np.testing.assert_allclose(denoised, reference(image, sigma, levels), atol=3e-5)


def test_a_flat_image_stays_flat():
    image = np.full((21, 33, 3), [0.2, 0.5, 0.9], np.float32)
    np.testing.assert_allclose(denoise(image, 0.04), image, atol=1e-6)
