"""What is kept of an image: no averaging enlarges a distance, and no two processes agree."""

import numpy as np
import pytest

from service.signals.fingerprint import Fingerprints, block_means
from service.signals.neighbors import SAME_PICTURE_LEVELS, same_picture

RNG = np.random.default_rng(14)


def pair(shape, kind, dtype):
    """Two images within 8/255 of a third one, as far apart as that allows."""
    centre = RNG.integers(8, 248, (*shape, 3))
    if kind == "corner":  # all pixels at opposite ends of the ball
        step = np.full_like(centre, 8)
    elif kind == "stripes":
        step = np.broadcast_to(
            np.where(np.arange(shape[1]) % 2, 8, -8)[None, :, None], centre.shape
        )
    else:
        step = RNG.choice([-8, 8], centre.shape)
    images = centre + step, centre - step
    if dtype == np.uint8:
        return [each.astype(np.uint8) for each in images]
    return [(each / 255).astype(np.float32) for each in images]


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("kind", ["corner", "stripes", "signs"])
@pytest.mark.parametrize("shape", [(260, 260), (299, 299), (224, 192), (32, 32), (20, 50)])
def test_two_images_of_a_ball_of_8_are_within_17_levels(shape, kind, dtype):
    for _ in range(5):
        one, other = (block_means(each) for each in pair(shape, kind, dtype))
        assert one.dtype == np.uint8
        assert len(one) == min(32, shape[0]) * min(32, shape[1]) * 3
        apart = np.abs(one.astype(int) - other.astype(int)).max()
        assert apart <= SAME_PICTURE_LEVELS
        assert kind != "corner" or apart >= 15
        assert same_picture(one[None], other).all()


def test_the_means_are_those_of_the_blocks():
    image = RNG.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    blocks = image.reshape(32, 2, 32, 3, 3).mean(axis=(1, 3))
    assert np.abs(block_means(image).reshape(32, 32, 3) - blocks).max() <= 0.51


def test_only_equal_pixels_have_one_identity():
    image = RNG.integers(0, 256, (40, 40, 3), dtype=np.uint8)
    changed = image.copy()
    changed[7, 9, 1] ^= 1
    fingerprints = Fingerprints(image.shape, 100)
    assert fingerprints.identity(image) == fingerprints.identity(image[:, ::-1][:, ::-1])
    assert fingerprints.identity(image) != fingerprints.identity(changed)
    assert fingerprints.identity(image) != Fingerprints(image.shape, 100).identity(image)


@pytest.mark.parametrize("probabilities", [False, True])
def test_a_projection_keeps_the_cosine_of_centred_logits(probabilities):
    fingerprints = Fingerprints((4, 4, 3), 1000)
    errors = []
    for share in np.linspace(0, 1, 21):
        one, noise = RNG.normal(size=(2, 1000))
        other = share * one + (1 - share) * noise
        logits = [(each + 3).astype(np.float32) for each in (one, other)]
        exact = np.corrcoef(*logits)[0, 1]  # the cosine of what is centred
        if probabilities:
            logits = [np.exp(each) / np.exp(each).sum() for each in logits]
        one, other = (fingerprints.direction(e, probabilities=probabilities) for e in logits)
        assert one.dtype == np.float16
        assert float(one @ one) == pytest.approx(1, abs=0.01)
        errors.append(float(one.astype(np.float32) @ other.astype(np.float32)) - exact)
    assert max(map(abs, errors)) < 0.35  # four standard deviations of 128 random signs
    assert abs(errors[-1]) < 0.01


def test_scores_without_a_direction_are_like_no_others():
    flat = Fingerprints((4, 4, 3), 100).direction(np.ones(100, np.float32), probabilities=False)
    assert not flat.any()


def test_another_model_is_noticed():
    fingerprints = Fingerprints((4, 4, 3), 100)
    image, scores = np.zeros((4, 4, 3), np.uint8), np.zeros(100, np.float32)
    assert fingerprints.fits(image, scores)
    assert not fingerprints.fits(image[:3], scores)
    assert not fingerprints.fits(image, scores[:99])
