from random import Random

import numpy as np
import pytest

from defenses import MatrixEstimation
from defenses.matrix_estimation import MatrixEstimationDraw, low_rank


def photograph(size=(101, 99)):
    y, x = np.mgrid[: size[0], : size[1]]
    waves = np.stack([np.sin(x / 9 + c) * np.cos(y / 13 - c) for c in range(3)], axis=-1)
    noise = np.random.default_rng(0).normal(0, 0.02, waves.shape)
    return np.clip(0.5 + 0.4 * waves + noise, 0, 1).astype(np.float32)


def as_published(image, kept, fraction):
    """Compute the published USVT with the channels side by side, in double precision."""
    h, w, _ = image.shape
    channels = np.concatenate([2.0 * image[..., c] - 1 for c in range(3)], axis=1)
    mask = np.concatenate([kept[..., c] for c in range(3)], axis=1)
    u, sigma, v = np.linalg.svd(channels * mask, full_matrices=False)
    sigma[int(fraction * h) :] = 0
    estimate = np.clip((u * sigma) @ v / mask.mean(), -1, 1)
    return np.stack([(estimate[:, c * w : (c + 1) * w] + 1) / 2 for c in range(3)], axis=-1)


@pytest.mark.parametrize("size", [(101, 99), (40, 200)])
@pytest.mark.parametrize(("low", "high", "fraction"), [(0.4, 0.6, 0.8), (0.8, 1, 0.2)])
def test_it_is_the_published_code(size, low, high, fraction):
    operation = MatrixEstimation(keep_low=low, keep_high=high, fraction=fraction)
    image = photograph(size)
    draw = operation.sample(Random(0), size)
    expected = as_published(image, draw.kept, fraction)
    np.testing.assert_allclose(operation.apply(image, draw), expected, atol=1e-4)


@pytest.mark.parametrize("shape", [(30, 50), (50, 30), (40, 40)])
def test_low_rank_is_the_truncated_decomposition(shape):
    matrix = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    u, sigma, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    for fraction in (0.01, 0.5, 1):
        stay = max(1, int(fraction * len(sigma)))
        expected = (u[:, :stay] * sigma[:stay]) @ v[:stay]
        np.testing.assert_allclose(low_rank(matrix, fraction), expected, atol=1e-4)


def test_an_image_of_low_rank_is_rebuilt_from_half_of_its_values():
    """The result is nearer to the image than the masked image is."""
    image = np.full((200, 200, 3), 0.6, np.float32)
    image[50:120] = [0.8, 0.3, 0.5]
    operation = MatrixEstimation(keep_low=0.5, keep_high=0.5, fraction=0.02)
    draw = operation.sample(Random(0), image.shape)
    rebuilt = operation.apply(image, draw)
    masked = np.where(draw.kept, image, 0.5)
    assert np.abs(rebuilt - image).mean() < 0.4 * np.abs(masked - image).mean()


def test_an_image_may_be_taller_than_its_three_channels_are_wide():
    image = photograph((200, 9))
    operation = MatrixEstimation(keep_low=1, fraction=1)
    np.testing.assert_allclose(operation(image, Random(0)), image, atol=1e-4)


def test_with_everything_kept_and_every_value_it_is_the_identity():
    operation = MatrixEstimation(keep_low=1, fraction=1)
    assert not operation.random
    image = np.random.default_rng(0).integers(0, 256, (64, 48, 3), dtype=np.uint8)
    np.testing.assert_array_equal(operation(image, Random()), image)


def test_with_nothing_kept_the_image_is_grey():
    draw = MatrixEstimationDraw(shape=(8, 8), kept=np.zeros((8, 8, 3), bool))
    image = np.full((8, 8, 3), 200, np.uint8)
    np.testing.assert_array_equal(MatrixEstimation().apply(image, draw), 128)


def test_a_dropped_value_does_not_matter():
    operation = MatrixEstimation()
    image = photograph()
    draw = operation.sample(Random(0), image.shape)
    other = np.where(draw.kept, image, 1 - image)
    assert (other != image).any()
    np.testing.assert_array_equal(operation.apply(other, draw), operation.apply(image, draw))


def test_the_probability_is_drawn_from_its_range_and_each_value_independently():
    operation = MatrixEstimation(keep_low=0.3, keep_high=0.7)
    rng = Random(0)
    kept = np.stack([operation.sample(rng, (100, 100)).kept for _ in range(200)])
    shares = kept.mean(axis=(1, 2, 3))
    assert shares.min() > 0.28
    assert shares.max() < 0.72
    counts, _ = np.histogram(shares, 4, (0.3, 0.7))
    assert np.abs(counts - 50).max() < 5 * np.sqrt(50)
    one = kept[np.abs(shares - 0.5).argmin()]
    both = (one[..., 0] & one[..., 1]).mean()
    assert both == pytest.approx(one.mean() ** 2, abs=5 * np.sqrt(0.25 * 0.75 / 10_000))


def test_the_gradient_passes_where_a_value_was_kept_and_nowhere_else():
    operation = MatrixEstimation()
    draw = operation.sample(Random(0), (40, 50))
    grad = np.random.default_rng(0).normal(size=(40, 50, 3))
    gradient = operation.vjp(grad, draw)
    np.testing.assert_array_equal(gradient[draw.kept], grad[draw.kept])
    assert not gradient[~draw.kept].any()
