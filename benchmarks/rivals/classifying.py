"""The work of every rival on an image, with our functions: decode, defend, infer, answer."""

from random import SystemRandom
from typing import Any

import cv2
import numpy as np

from defenses import Pipeline
from models import Classifier, Store, ensure, fit, probabilities, resolve, to_tensor
from service.images.decode import decode
from service.server.process import tune_malloc

MAX_PIXELS = 25_000_000
TOP_K = 5


class Classifying:
    """The embedded model behind ``fd+rdg``, on one thread."""

    def __init__(self) -> None:
        tune_malloc()
        cv2.setNumThreads(1)
        store = Store()
        graph = ensure(store, resolve(store, "efficientnet-lite2"))
        self._classifier = Classifier(*graph, device="cpu", threads=1)
        self._classifier.warm_up([1])
        self._pipeline = Pipeline.parse("fd+rdg")
        self._random = SystemRandom()

    def __call__(self, body: bytes) -> dict[str, Any]:
        """Classify one image file."""
        manifest = self._classifier.manifest
        decoded = decode(body, max_pixels=MAX_PIXELS, reduce_to_px=manifest.decode_to_px)
        image = fit(decoded, manifest)
        tensor = to_tensor(self._pipeline(image, self._random), manifest)[None]
        (values,) = probabilities(self._classifier.run(tensor), manifest)
        best = np.argsort(-values)[:TOP_K]
        names = manifest.label_names
        return {
            "predictions": [
                {"index": int(i), "label": names[i], "probability": float(values[i])} for i in best
            ]
        }
