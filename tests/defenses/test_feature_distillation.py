from random import Random

import numpy as np
import pytest
from scipy.fft import dctn, idctn

from defenses import FeatureDistillation


def reference(image, operation, offset, tie=0.0):
    """Compute the definition block by block in double precision; NaN where a coefficient ties.

    With ``tie`` there is no NaN: ties are moved by this fraction of a coefficient towards zero.
    """
    height, width = image.shape[:2]
    top, left = offset
    pad = ((top, -(height + top) % 8), (left, -(width + left) % 8), (0, 0))
    padded = np.pad(image.astype(np.float64), pad, mode="reflect")
    steps = np.full((8, 8), float(operation.step))
    steps[: operation.corner_size, : operation.corner_size] = operation.corner_step
    out = np.empty_like(padded)
    for channel in range(3):
        for y in range(0, padded.shape[0], 8):
            for x in range(0, padded.shape[1], 8):
                block = padded[y : y + 8, x : x + 8, channel]
                scaled = dctn(block, norm="ortho") / steps * (1 - tie)
                restored = idctn(np.rint(scaled) * steps, norm="ortho")
                tied = not tie and np.abs(scaled - np.floor(scaled) - 0.5).min() < 1e-4
                out[y : y + 8, x : x + 8, channel] = np.nan if tied else restored
    return np.clip(out[top : top + height, left : left + width], 0, 255)


def noise(shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("size", "parameters", "offset"),
    [
        ((299, 299), {}, (2, 2)),  # the paper's: 2 px before, 3 px after
        ((101, 99), {}, (1, 2)),
        ((8, 8), {}, (0, 0)),
        ((64, 48), {"phase": 3}, (3, 3)),
        ((299, 101), {"phase": 7, "step": 12.5, "corner_step": 40, "corner_size": 2}, (1, 0)),
        ((50, 60), {"corner_size": 0}, (3, 2)),
    ],
)
def test_equals_the_block_by_block_definition(size, parameters, offset):
    operation = FeatureDistillation(**parameters)
    image = noise(size)
    expected = reference(image, operation, offset)
    decided = ~np.isnan(expected)
    assert decided.mean() > 0.8

    exact = operation((image / np.float32(255)).astype(np.float32), Random()) * 255
    assert np.abs(exact - expected)[decided].max() <= 1e-3

    rounded = operation(image, Random())
    assert np.abs(rounded - expected)[decided].max() <= 0.5 + 2e-3


def test_no_rounding_depends_on_the_order_of_summation():
    """Ties are common in 8-bit images. Another processor adds up in another order."""
    y, x = np.mgrid[:299, :299]
    waves = np.stack([np.sin(x / 19 + c) * np.cos(y / 23 - c) for c in range(3)], axis=-1)
    generator = np.random.default_rng(1)
    image = np.clip(127.5 + 90 * waves + generator.normal(0, 3, waves.shape), 0, 255)
    image = image.astype(np.uint8)
    for operation in (FeatureDistillation(), FeatureDistillation(step=20, corner_step=10)):
        exact = reference(image, operation, (2, 2), tie=2.0**-18)
        expected = np.clip(np.rint(exact - 2.0**-10), 0, 255)
        assert (operation(image, Random()) != expected).mean() < 2e-4


def test_a_large_image_is_worked_through_in_chunks_that_do_not_show():
    operation = FeatureDistillation()
    image = np.random.default_rng(0).random((320, 1600, 3), np.float32)
    whole = operation(image, Random())
    part = operation(np.ascontiguousarray(image[160:240, 800:880]), Random())
    np.testing.assert_allclose(whole[160:240, 800:880], part, atol=1e-5)


def test_nothing_moves():
    """The published code shifts its output by 2 px; this operation is aligned."""
    y, x = np.mgrid[:299, :299]
    image = np.stack([127 + 90 * np.sin(x / 11) * np.sin(y / 7)] * 3, axis=-1).astype(np.uint8)
    defended = FeatureDistillation()(image, Random()).astype(float)

    def distance(dy, dx):
        return np.mean((np.roll(image, (dy, dx), (0, 1)) - defended)[8:-8, 8:-8] ** 2)

    aligned = distance(0, 0)
    assert np.sqrt(aligned) < 0.03 * 255
    moved = [distance(dy, dx) for dy in range(-3, 4) for dx in range(-3, 4) if (dy, dx) != (0, 0)]
    assert aligned < min(moved)


def test_a_second_pass_on_the_same_grid_changes_nothing_and_on_another_grid_does():
    grey = np.random.default_rng(2).uniform(0.4, 0.6, (64, 64, 3)).astype(np.float32)
    once = FeatureDistillation()(grey, Random())
    np.testing.assert_allclose(FeatureDistillation()(once, Random()), once, atol=1e-5)
    assert np.abs(FeatureDistillation(phase=2)(once, Random()) - once).max() > 0.02


def test_passes_are_single_passes_on_moved_grids():
    image = noise((101, 99))
    stepwise = image
    for phase in (0, 2, 4):
        stepwise = FeatureDistillation(phase=phase)(stepwise, Random())
    np.testing.assert_array_equal(FeatureDistillation(passes=3)(image, Random()), stepwise)


def test_a_random_phase_reaches_all_sixty_four_grids_and_passes_keep_apart():
    rng = Random(1)
    operation = FeatureDistillation(phase="random", passes=2)
    draws = [operation.sample(rng, (64, 64)).phases for _ in range(2000)]
    assert {first for first, _ in draws} == {(y, x) for y in range(8) for x in range(8)}
    assert all(((y + 2) % 8, (x + 2) % 8) == second for (y, x), second in draws)


def test_high_frequencies_below_half_a_step_are_removed():
    checkerboard = np.indices((64, 64)).sum(0) % 2
    image = np.repeat((128 + checkerboard)[..., None], 3, axis=2).astype(np.uint8)
    assert np.ptp(FeatureDistillation()(image, Random())) == 0
