"""An attacker whose posts are few among those of each client."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from harness.budget import to_8_bits
from harness.signals.client import Client, OneByOne
from harness.signals.traffic import Scene
from harness.types import Case, Posted, Victim


@dataclass(frozen=True)
class ManyKeys:
    """A way of posting: each key posts so many images, and is never used again."""

    posts_of_a_key: int

    def __call__(self, scene: Scene, case: Case) -> Victim:
        """Open the first client; see :data:`harness.signals.searches.Way`."""
        return _Rotating(lambda: scene.client(case), self.posts_of_a_key)


class _Rotating(OneByOne):
    def __init__(self, open_client: Callable[[], Client], posts: int) -> None:
        self._open, self._posts = open_client, posts
        self._client, self._done = open_client(), 0

    def post(self, image: Posted, draws: int = 1) -> NDArray[np.float32]:
        """Post an image with a key that is not worn out; see :class:`OneByOne`."""
        if self._done == self._posts:
            self._client, self._done = self._open(), 0
        self._done += 1
        return self._client.post(image, draws)


@dataclass(frozen=True)
class Diluted:
    """A way of posting: one post in so many is the attack's, and the others are photographs."""

    one_in: int

    def __call__(self, scene: Scene, case: Case) -> Victim:
        """Open the client; see :data:`harness.signals.searches.Way`."""
        others = [other for other in scene.others if other.file != case.file] or [case]
        return _Diluting(scene, case, others, self.one_in - 1)


class _Diluting(OneByOne):
    def __init__(self, scene: Scene, case: Case, others: Sequence[Case], between: int) -> None:
        self._client, self._case = scene.client(case), case
        self._others, self._between = others, between
        self._next, self._rng = 0, scene.random(f"diluted/{case.file}")

    def post(self, image: Posted, draws: int = 1) -> NDArray[np.float32]:
        """Post other photographs, and then an image; see :class:`OneByOne`."""
        for _ in range(self._between):
            other = self._others[self._next % len(self._others)]
            self._next += 1
            self._client.label = other.label
            self._client.post(self._made_different(other))
        self._client.label = self._case.label
        return self._client.post(image, draws)

    def _made_different(self, other: Case) -> Posted:
        """Change one value, because bit-identical images would not fill the server's window."""
        pixels = to_8_bits(other.image)
        row, column = (self._rng.integers(side) for side in pixels.shape[:2])
        pixels[row, column] = self._rng.integers(0, 256, 3)
        return pixels
