"""What an attacker changes so that the signal of one picture sees nothing."""

import numpy as np
import pytest

from harness.signals.disguises import Disguised, corners, fields, geometry, pasted
from service.signals.fingerprint import block_means
from service.signals.neighbors import same_picture

EVERY = (corners, geometry, fields, pasted)


@pytest.mark.parametrize("disguise", EVERY, ids=lambda each: each.__name__)
def test_no_two_posts_of_a_photograph_are_one_picture_to_the_signal(disguise, scene):
    (case, *_) = scene.cases
    victim = Disguised((disguise,))(scene, case)
    assert victim.classes([case.image] * 30).shape == (30,)
    assert victim.probabilities([case.image], 2).shape == (1, 3)
    (client,) = scene.clients
    assert client.label == case.label
    assert client.draws == [1] * 30 + [2]
    assert all(image.dtype == np.uint8 for image in client.posted)
    assert all(image.shape == case.image.shape for image in client.posted)
    means = np.stack([block_means(image) for image in client.posted])
    alike = [int(same_picture(means, each).sum()) - 1 for each in means]
    assert max(alike) < 20
    assert disguise is not corners or max(alike) == 0


def test_painted_corners_leave_the_rest_as_it_is(scene):
    (case, *_) = scene.cases
    image = np.rint(case.image * 255).astype(np.uint8)
    changed = corners(scene, case)(image)
    rows, columns = np.nonzero((changed != image).any(axis=2))
    assert {*rows.tolist(), *columns.tolist()} <= {0, 1, 62, 63}


def test_disguises_follow_one_another(scene):
    (case, *_) = scene.cases
    image = np.rint(case.image * 255).astype(np.uint8)
    Disguised((pasted, corners))(scene, case).post(image)
    expected = corners(scene, case)(pasted(scene, case)(image))
    assert np.array_equal(scene.clients[0].posted[0], expected)
