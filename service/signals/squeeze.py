"""How far the defence moves an image's probabilities: far, if the image was made against the model.

An image that was made adversarial on the model without its defence has one class without the
defence and another one behind it. Xu, Evans, Qi: Feature Squeezing, NDSS 2018.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import replace
from random import SystemRandom

import numpy as np
from numpy.typing import NDArray

from defenses import Pipeline
from models import Manifest, probabilities
from service.errors import ServiceError
from service.signals.seen import Seen

MOST_WAITING = 16
"""The most images that wait for their second inference; further ones are skipped."""
PATIENCE_S = 10.0
"""How long an image waits for the server to have nothing else to do; then it is skipped."""
_LOOK_EVERY_S = 0.02
DRAWS = 1
"""How many draws are compared, whatever the request asks for: no client can choose a number of
draws that has no threshold."""

_THRESHOLDS = {
    # The weights of efficientnet-lite2, the embedded model.
    ("9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d", "fd+rdg"): 1.1,
}
"""The L1 distance that one in a hundred photographs exceeds, by weights and defence; see
docs/signals.md."""
_RANDOM = SystemRandom()

_log = logging.getLogger(__name__)


def threshold(manifest: Manifest, defense: Pipeline) -> float | None:
    """The shipped distance beyond which an image is flagged; None where none was measured."""
    return _THRESHOLDS.get((manifest.weights_sha256 or "", str(defense)))


def distance(bare: NDArray[np.float32], defended: NDArray[np.float32], manifest: Manifest) -> float:
    """The L1 distance, in [0, 2], of the probabilities of two ``(classes,)`` scores."""
    first, second = probabilities(np.stack([bare, defended]), manifest)
    return float(np.abs(first - second).sum())


class Squeeze:
    """Infers a share of the images again, without a defence, while the server is idle."""

    def __init__(
        self,
        share: float,
        *,
        is_idle: Callable[[], bool],
        on_distance: Callable[[Seen], None],
        on_skip: Callable[[], None],
    ) -> None:
        """Set up; :meth:`run` does the work.

        Args:
            share: of the images, in [0, 1]; which ones is left to chance.
            is_idle: whether an inference would delay no answer.
            on_distance: called with each image and its ``distance``.
            on_skip: called for an image that waited in vain.
        """
        self._share = share
        self._is_idle = is_idle
        self._on_distance = on_distance
        self._on_skip = on_skip
        self._waiting: asyncio.Queue[Seen] = asyncio.Queue(MOST_WAITING)

    def sample(self, seen: Seen) -> None:
        """Take an image with the probability of the share; called in the event loop."""
        if seen.threshold is None or _RANDOM.random() >= self._share:
            return
        try:
            self._waiting.put_nowait(seen)
        except asyncio.QueueFull:
            self._on_skip()

    async def run(self) -> None:
        """Infer one image after the other, until this is cancelled."""
        while True:
            seen = await self._waiting.get()
            try:
                async with asyncio.timeout(PATIENCE_S):
                    while not self._is_idle():
                        await asyncio.sleep(_LOOK_EVERY_S)
                scores = await seen.infer(seen.image)
            except (TimeoutError, ServiceError):  # always busy, or another model is served now
                self._on_skip()
                continue
            except Exception:  # noqa: BLE001  # the answer is out; whatever failed is in the log
                _log.exception("An image could not be inferred without a defence")
                continue
            self._on_distance(replace(seen, distance=distance(scores, seen.scores, seen.manifest)))
            del seen
