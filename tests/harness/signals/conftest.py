"""A scene without a server: its clients keep what is posted."""

import numpy as np
import pytest
from PIL import Image

from harness.dataset import Photograph
from harness.signals.client import OneByOne
from harness.signals.traffic import Scene
from harness.types import Case

SIDE_PX = 64


class Keeper(OneByOne):
    """A client that keeps the images and files that it is to post."""

    def __init__(self):
        self.label, self.posted, self.labels, self.draws = -1, [], [], []

    def post(self, image, draws=1):
        self.posted.append(image)
        self.labels.append(self.label)
        self.draws.append(draws)
        return np.full(3, 1 / 3, np.float32)

    upload = post


class Wrong:
    """A copy that gets everything wrong."""

    def classes(self, images):
        return np.full(len(images), 9)


@pytest.fixture
def scene(tmp_path):
    """A scene of three photographs; ``scene.clients`` has those that were opened."""
    rng = np.random.default_rng(0)
    photographs, cases, clients = [], [], []
    for number in range(3):
        blocks = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(blocks).resize((SIDE_PX, SIDE_PX)))
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        photographs.append(Photograph(path, path.name, number, number + 1))
        image = pixels.astype(np.float32) / 255
        cases.append(Case(path.name, image, number, number + 1))

    def opened():
        clients.append(Keeper())
        return clients[-1]

    made = Scene(photographs, cases, limit=2, posts=24, copy=Wrong(), seed=0, open=opened)
    object.__setattr__(made, "clients", clients)
    return made
