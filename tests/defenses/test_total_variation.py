from random import Random

import numpy as np
import pytest

from defenses import TotalVariationMinimization
from defenses.total_variation import TotalVariationDraw


def photograph(size=(101, 99)):
    """Return flat areas with edges, and some noise."""
    generator = np.random.default_rng(0)
    y, x = np.mgrid[: size[0], : size[1]]
    areas = np.stack([(x // 20 + y // 30 + c) % 3 / 2 for c in range(3)], axis=-1)
    values = 0.2 + 0.6 * areas + generator.normal(0, 0.03, areas.shape)
    return np.clip(values, 0, 1).astype(np.float32)


def energy(z, image, kept, weight):
    """Compute the minimised function in double precision."""
    z, image = z.astype(np.float64), image.astype(np.float64)
    right = np.diff(z, axis=1, append=z[:, -1:])
    below = np.diff(z, axis=0, append=z[-1:])
    variation = np.sqrt(right**2 + below**2).sum()
    return 0.5 * (kept * (z - image) ** 2).sum() + weight * variation


@pytest.mark.parametrize("axis", [0, 1])
def test_known_answer_for_a_step(axis):
    """If all is kept, each side of a step of 8 + 8 px moves towards the other by weight / 8."""
    image = np.full((16, 16, 3), 0.2, np.float32)
    image[8:] = 0.9
    image = np.ascontiguousarray(image if axis == 0 else image.swapaxes(0, 1))
    operation = TotalVariationMinimization(keep=1, weight=0.08, rounds=1000)
    rebuilt = operation(image, Random())
    expected = np.where(image < 0.5, 0.2 + 0.01, 0.9 - 0.01)
    np.testing.assert_allclose(rebuilt, expected, atol=2e-4)


def test_nothing_near_is_better():
    image = photograph((24, 32))
    operation = TotalVariationMinimization(rounds=1000)
    draw = operation.sample(Random(0), image.shape)
    rebuilt = operation.apply(image, draw)
    least = energy(rebuilt, image, draw.kept, operation.weight)
    assert least < 0.4 * energy(image, image, draw.kept, operation.weight)
    generator = np.random.default_rng(1)
    for size in (1e-1, 1e-2, 1e-3):
        for _ in range(20):
            moved = rebuilt + size * generator.normal(size=image.shape)
            assert energy(moved, image, draw.kept, operation.weight) > least
        towards_image = rebuilt + size * (image - rebuilt)
        assert energy(towards_image, image, draw.kept, operation.weight) > least - 1e-4


def test_ten_rounds_are_near_the_minimum():
    image = photograph()
    draw = TotalVariationMinimization().sample(Random(0), image.shape)
    rebuilt = {
        rounds: TotalVariationMinimization(rounds=rounds).apply(image, draw)
        for rounds in (1, 10, 300)
    }
    energies = {n: energy(z, image, draw.kept, 0.03) for n, z in rebuilt.items()}
    assert energies[300] < energies[10] < energies[1]
    assert energies[10] < 1.15 * energies[300]
    assert np.sqrt(np.mean((rebuilt[10] - rebuilt[300]) ** 2)) < 0.03


def test_a_dropped_value_does_not_matter():
    operation = TotalVariationMinimization()
    image = photograph()
    draw = operation.sample(Random(0), image.shape)
    other = np.where(draw.kept, image, 1 - image)
    assert (other != image).any()
    np.testing.assert_array_equal(operation.apply(other, draw), operation.apply(image, draw))


@pytest.mark.parametrize("keep", [0.01, 0.5, 1])
def test_a_flat_image_stays_flat(keep):
    image = np.full((40, 50, 3), [30, 120, 250], np.uint8)
    operation = TotalVariationMinimization(keep=keep, rounds=1000)
    rebuilt = operation(image, Random(0)).astype(int)
    assert np.abs(rebuilt - image).max() <= 1


def test_with_nothing_kept_the_image_is_black():
    image = np.full((8, 8, 3), 200, np.uint8)
    draw = TotalVariationDraw(shape=(8, 8), kept=np.zeros((8, 8, 3), bool))
    assert not TotalVariationMinimization().apply(image, draw).any()


def test_each_value_is_kept_independently():
    kept = TotalVariationMinimization(keep=0.3).sample(Random(0), (200, 300)).kept
    assert kept.shape == (200, 300, 3)
    assert kept.mean() == pytest.approx(0.3, abs=5 * np.sqrt(0.21 / kept.size))
    both = (kept[..., 0] & kept[..., 1]).mean()
    assert both == pytest.approx(0.09, abs=5 * np.sqrt(0.09 * 0.91 / 60_000))


def test_the_gradient_passes_where_a_value_was_kept_and_nowhere_else():
    operation = TotalVariationMinimization()
    draw = operation.sample(Random(0), (40, 50))
    grad = np.random.default_rng(0).normal(size=(40, 50, 3))
    gradient = operation.vjp(grad, draw)
    np.testing.assert_array_equal(gradient[draw.kept], grad[draw.kept])
    assert not gradient[~draw.kept].any()
