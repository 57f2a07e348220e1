"""Few posts of an attack among those of each client."""

import numpy as np

from harness.signals.spread import Diluted, ManyKeys


def test_a_key_is_never_used_again_after_its_posts(scene):
    (case, *_) = scene.cases
    ManyKeys(20)(scene, case).classes([case.image] * 45)
    assert [len(client.posted) for client in scene.clients] == [20, 20, 5]


def test_one_post_in_twenty_is_the_attack_s_and_the_others_all_differ(scene):
    (case, *_) = scene.cases
    Diluted(20)(scene, case).classes([case.image] * 3)
    (client,) = scene.clients
    assert len(client.posted) == 60
    of_attack = [i for i, label in enumerate(client.labels) if label == case.label]
    assert of_attack == [19, 39, 59]
    others = [image.tobytes() for i, image in enumerate(client.posted) if i not in of_attack]
    assert len(set(others)) == 57
    assert all(np.asarray(client.posted[i]).dtype == np.float32 for i in of_attack)
