"""The attacker's own copy of what the endpoint serves, for attacks without gradients."""

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from random import SystemRandom
from typing import Self

import numpy as np
from numpy.typing import NDArray

from defenses import Image, Pipeline
from models import Classifier, Manifest, available_cpus, probabilities, to_tensor

_BATCH = 4
"""How many images run through the model at once. More take more memory, and no less time."""


class Replica:
    """A model in ONNX Runtime behind a defence. Any model that the service serves can be one.

    Attributes:
        manifest: the model's manifest.
        defense: the endpoint's defence.
    """

    def __init__(self, manifest: Manifest, graph: bytes, defense: Pipeline) -> None:
        """Load a model.

        Args:
            manifest: the model's manifest.
            graph: the model's ONNX file.
            defense: what the endpoint does to an image before it classifies it.
        """
        self.manifest, self.defense = manifest, defense
        self._classifier = Classifier(manifest, graph, device="cpu")
        self._threads = ThreadPoolExecutor(available_cpus(), thread_name_prefix="draws")

    def with_defense(self, defense: Pipeline) -> Self:
        """Return the same model with another defence."""
        other = copy.copy(self)
        other.defense = defense
        return other

    def classes(self, images: Sequence[Image]) -> NDArray[np.intp]:
        """Return the most probable class of each image, each on a fresh draw: ``(n,)``."""
        best: NDArray[np.intp] = self.scores(images).argmax(axis=1)
        return best

    def probabilities(self, images: Sequence[Image], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)`` float32."""
        repeated = [image for image in images for _ in range(draws)]
        by_draw = probabilities(self.scores(repeated), self.manifest)
        mean: NDArray[np.float32] = by_draw.reshape(len(images), draws, -1).mean(axis=1)
        return mean

    def scores(self, images: Sequence[Image]) -> NDArray[np.float32]:
        """Return the scores of each image, each on a fresh draw: ``(n, classes)`` float32."""
        random, batches = SystemRandom(), []
        for start in range(0, len(images), _BATCH):
            defended = self._threads.map(
                lambda image: self.defense(image, random), images[start : start + _BATCH]
            )
            batch = np.stack([to_tensor(image, self.manifest) for image in defended])
            batches.append(self._classifier.run(batch))
        return np.concatenate(batches)
