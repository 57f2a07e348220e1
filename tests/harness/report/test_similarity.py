import numpy as np
import pytest

from harness.report.similarity import ssim


@pytest.mark.parametrize("size", [(41, 37), (7, 299)])
def test_ssim_is_one_for_equal_images_and_falls_with_noise(size):
    generator = np.random.default_rng(0)
    image = generator.random((*size, 3)).astype(np.float32)
    noise = generator.normal(0, 1, image.shape)
    noisy, noisier = (np.clip(image + by * noise, 0, 1).astype(np.float32) for by in (0.1, 0.5))
    assert ssim(image, image) == pytest.approx(1.0)
    assert 1 > ssim(image, noisy) > ssim(image, noisier)
