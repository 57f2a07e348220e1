"""An ordinary day: which files are posted, in which order."""

import io

import numpy as np
import pytest
from PIL import Image

from harness.signals import KINDS

EACH = {"once": 1, "again": 4, "re-encoded": 4, "bursts": 5}
ORDERS = {"once": 3}


@pytest.mark.parametrize("name", EACH)
def test_each_photograph_is_posted_by_each_client(name, scene):
    kind = KINDS[name]
    kind.send(scene)
    assert len(scene.clients) == ORDERS.get(name, 1)
    for client in scene.clients:
        assert np.bincount(client.labels).tolist() == [EACH[name]] * 3
    assert kind.posts(scene) == sum(len(client.posted) for client in scene.clients)


def test_the_orders_differ_and_are_the_same_in_every_run(scene):
    KINDS["again"].send(scene)
    KINDS["again"].send(scene)
    one, again = (client.labels for client in scene.clients)
    assert one == again
    assert one != sorted(one)


def test_retries_are_bit_identical_and_other_versions_are_not(scene):
    for name, different in (("again", 3), ("re-encoded", 12), ("bursts", 15)):
        KINDS[name].send(scene)
        assert len(set(scene.clients[-1].posted)) == different


def test_a_burst_comes_together_and_shows_one_picture(scene):
    KINDS["bursts"].send(scene)
    (client,) = scene.clients
    assert [client.labels[i : i + 5] for i in (0, 5, 10)] == [
        [label] * 5 for label in client.labels[::5]
    ]
    frames = [np.asarray(Image.open(io.BytesIO(file)), int) for file in client.posted[:5]]
    assert max(np.abs(frame - frames[0]).mean() for frame in frames) < 30


def test_versions_of_another_encoding_show_the_same_picture(scene):
    KINDS["re-encoded"].send(scene)
    (client,) = scene.clients
    for label in range(3):
        posted = zip(client.labels, client.posted, strict=True)
        images = [Image.open(io.BytesIO(file)) for each, file in posted if each == label]
        assert sorted((i.format, i.width) for i in images) == [
            ("JPEG", 48),
            ("JPEG", 64),
            ("JPEG", 64),
            ("PNG", 64),
        ]
        pixels = [np.asarray(image.resize((64, 64)), int) for image in images]
        assert max(np.abs(each - pixels[0]).mean() for each in pixels) < 10
