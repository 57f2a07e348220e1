from random import Random

import numpy as np
import pytest

from defenses import PixelDeflection


def numbered(height, width):
    """Return an image whose values all differ."""
    return np.arange(3 * height * width, dtype=np.float32).reshape(height, width, 3) / 1e6


@pytest.mark.parametrize(("size", "window"), [((101, 99), 10), ((20, 31), 3), ((8, 8), 10)])
def test_replaced_pixels_come_from_the_window_and_all_others_stay(size, window):
    operation = PixelDeflection(window=window, sigma=0)
    image = numbered(*size)
    draw = operation.sample(Random(3), size)
    defended = operation.apply(image, draw)

    replaced = np.zeros(size, bool)
    replaced.reshape(-1)[draw.targets] = True
    np.testing.assert_array_equal(defended[~replaced], image[~replaced])
    assert replaced.sum() == len(draw.targets) <= 200
    for target, source in zip(draw.targets, draw.sources, strict=True):
        (y, x), (near_y, near_x) = divmod(target, size[1]), divmod(source, size[1])
        assert abs(near_y - y) <= window
        assert abs(near_x - x) <= window
        np.testing.assert_array_equal(defended[y, x], image[near_y, near_x])


def test_pixels_and_places_in_the_window_are_uniform():
    operation = PixelDeflection(deflections=5000, window=2, sigma=0)
    rng = Random(0)
    draws = [operation.sample(rng, (400, 300)) for _ in range(10)]
    y, x = np.divmod(np.concatenate([draw.targets for draw in draws]), 300)
    near_y, near_x = np.divmod(np.concatenate([draw.sources for draw in draws]), 300)
    for position, size in ((y, 400), (x, 300)):
        counts = np.bincount(position * 4 // size, minlength=4)
        assert np.abs(counts - counts.mean()).max() < 5 * np.sqrt(counts.mean())
    inside = (y >= 2) & (y < 398) & (x >= 2) & (x < 298)
    places = np.bincount((5 * (near_y - y + 2) + near_x - x + 2)[inside], minlength=25)
    assert len(places) == 25
    assert np.abs(places - places.mean()).max() < 5 * np.sqrt(places.mean())


def test_at_the_edge_the_window_is_cut_off():
    operation = PixelDeflection(deflections=4000, window=1, sigma=0)
    draw = operation.sample(Random(0), (8, 8))
    assert len(draw.targets) == 64
    corner = {
        int(PixelDeflection(deflections=4000, window=1).sample(Random(seed), (8, 8)).sources[0])
        for seed in range(60)
    }
    assert corner == {0, 1, 8, 9}


def test_the_later_of_two_replacements_counts():
    """640 replacements hit each of 8 x 8 pixels many times; the test applies them one by one."""
    size = (8, 8)
    draw = PixelDeflection(deflections=640, sigma=0).sample(Random(1), size)
    assert len(np.unique(draw.targets)) == len(draw.targets) == 64

    class Recorded(Random):
        def randbytes(self, n):
            drawn = super().randbytes(n)
            numbers.append(np.frombuffer(drawn, "<u4") / 2**32)
            return drawn

    numbers = []
    again = PixelDeflection(deflections=640, sigma=0).sample(Recorded(1), size)
    np.testing.assert_array_equal(again.sources, draw.sources)
    last = {}
    for y, x, near_y, near_x in zip(*numbers, strict=True):
        # A window of 10 px covers the whole image.
        last[int(y * 8) * 8 + int(x * 8)] = int(near_y * 8) * 8 + int(near_x * 8)
    assert dict(zip(draw.targets.tolist(), draw.sources.tolist(), strict=True)) == last


def test_without_deflections_and_denoising_it_is_the_identity():
    operation = PixelDeflection(deflections=0, sigma=0)
    assert not operation.random
    image = numbered(101, 99)
    np.testing.assert_array_equal(operation(image, Random()), image)


def test_the_gradient_is_that_of_the_deflection_alone():
    """A replaced pixel gets no gradient, its source gets more, and the denoising passes it on."""
    operation = PixelDeflection()
    draw = operation.sample(Random(0), (40, 50))
    grad = np.random.default_rng(0).normal(size=(40, 50, 3))
    gradient = operation.vjp(grad, draw)
    np.testing.assert_array_equal(gradient, PixelDeflection(sigma=0).vjp(grad, draw))
    unread = np.setdiff1d(draw.targets, draw.sources)
    assert len(unread) > 100
    assert not gradient.reshape(-1, 3)[unread].any()
    np.testing.assert_allclose(gradient.sum((0, 1)), grad.sum((0, 1)))


def test_denoising_removes_noise_of_the_assumed_strength():
    generator = np.random.default_rng(0)
    smooth = np.full((128, 128, 3), 0.5, np.float32)
    smooth[:, 64:] = 0.8
    noisy = np.clip(smooth + generator.normal(0, 0.04, smooth.shape), 0, 1).astype(np.float32)
    defended = PixelDeflection(deflections=0)(noisy, Random())
    assert np.std(defended - smooth) < 0.3 * np.std(noisy - smooth)
