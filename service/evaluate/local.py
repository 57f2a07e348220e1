"""A model in this process, which answers with draws that a seed chooses."""

import time
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from random import Random

import cv2
import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from models import Classifier, available_cpus, fit, probabilities, to_tensor
from service.errors import ServiceError
from service.evaluate.conditions import Condition
from service.evaluate.outcomes import TOP, Answer, Outcome, UnreadableError
from service.images.decode import decode
from service.server.process import tune_malloc

_MAX_PIXELS = 10**9
"""The largest limit that the service can have: these files are the user's own."""
_CPU = "CPUExecutionProvider"


class LocalModel:
    """A model in this process. Each image is one thread's work, so that threads scale with cores.

    The draws of an image depend on its bytes, the seed and the condition, and on nothing else: not
    on its name, its place, or the other images.
    """

    def __init__(self, classifier: Classifier, draws: Sequence[int], seed: int) -> None:
        """Set up.

        Args:
            classifier: the model, with one thread for each inference.
            draws: the numbers of draws to answer with.
            seed: chooses the draws.
        """
        manifest = classifier.manifest
        on_cpu = classifier.provider == _CPU
        self.model = manifest.name
        self.endpoint: str | None = None
        self.seed: int | None = seed
        self.cost = "CPU time of one core" if on_cpu else "time of one thread and the GPU"
        self.parallel = 1
        self.labels: Sequence[str] | None = manifest.label_names
        self.classes = len(manifest.label_names)
        self.provider = classifier.provider
        self.workers = available_cpus()
        self.identity: Mapping[str, JsonValue] = {
            "model": self.model,
            "sha256": manifest.sha256,
            "draws": list(draws),
            "seed": seed,
        }
        self._classifier = classifier
        self._draws = draws
        # The time that a core computes says more on a busy machine than the time that passes. A GPU
        # computes in no thread.
        self._clock_s: Callable[[], float] = time.thread_time if on_cpu else time.perf_counter
        self._cv2_threads = cv2.getNumThreads()
        cv2.setNumThreads(1)
        tune_malloc()  # as the server does, so that the times are the server's
        classifier.warm_up([max(draws)])

    def close(self) -> None:
        """Give OpenCV its threads back."""
        cv2.setNumThreads(self._cv2_threads)

    def answer(self, body: bytes, conditions: Sequence[Condition]) -> dict[str, Outcome]:
        """Classify an image file under each condition; see :class:`Subject`."""
        manifest = self._classifier.manifest
        begun_s = self._clock_s()
        try:
            image = fit(
                decode(body, max_pixels=_MAX_PIXELS, reduce_to_px=manifest.decode_to_px), manifest
            )
        except ServiceError as error:
            raise UnreadableError(error.message) from None
        decoded_s = self._clock_s() - begun_s
        digest = sha256(body).hexdigest()
        found = {}
        for condition in conditions:
            numbers = self._draws if condition.drawn else (1,)
            rng = Random(f"{self.seed} {condition.name} {digest}")  # noqa: S311  # repeatable
            begun_s = self._clock_s()
            tensors, prepared_s = [], []
            for each in condition.images(image, rng, max(numbers)):
                tensors.append(to_tensor(each, manifest))
                prepared_s.append(decoded_s + self._clock_s() - begun_s)
            scores = self._classifier.run(np.stack(tensors))
            inferred_s = (self._clock_s() - begun_s - prepared_s[-1] + decoded_s) / len(tensors)
            by_draw = probabilities(scores, manifest)
            found[condition.name] = Outcome(
                answers={number: _answers(by_draw, number) for number in numbers},
                ms={
                    number: round(1e3 * (prepared_s[number - 1] + number * inferred_s), 4)
                    for number in numbers
                },
            )
        return found


def _answers(by_draw: NDArray[np.float32], draws: int) -> tuple[Answer, ...]:
    """Return the answers that so many draws make, from the first ones on."""
    answers = []
    for first in range(0, len(by_draw) - draws + 1, draws):
        some = by_draw[first : first + draws]
        mean = some.mean(axis=0)
        best = np.argsort(-mean, kind="stable")[:TOP]
        agreement = float(np.mean(some.argmax(axis=1) == best[0]))
        answers.append(Answer(top=tuple(best.tolist()), agreement=agreement))
    return tuple(answers)
