"""An image that was answered, and what the signals need to look at it."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defenses import Image, Pipeline
from models import Manifest


@dataclass(frozen=True)
class Seen:
    """An image that was answered.

    Attributes:
        client: the name of its key, or its address.
        signals: those that look at it.
        manifest: of the model.
        image: before the defence, at the model's input size.
        scores: ``(classes,)``, of one draw.
        agreement: of its draws, in [0, 1]; NaN if there was only one.
        infer: returns the scores of an image without a defence.
        threshold: of the signal squeeze; None if it cannot be used with this model and defence.
        distance: how far the defence moves the probabilities; None if that was not measured.
        request_id: the id of its request; None outside of a request.
    """

    client: str
    signals: frozenset[str]
    manifest: Manifest
    image: Image
    scores: NDArray[np.float32]
    agreement: float
    infer: Callable[[Image], Awaitable[NDArray[np.float32]]]
    threshold: float | None = None
    distance: float | None = None
    request_id: str | None = None


class Viewer(Protocol):
    """What looks at images once they are answered. It never raises, and nothing waits for it."""

    def signals_for(self, chosen: frozenset[str] | None, /) -> frozenset[str]:
        """The signals that look at the images of a client, which may have chosen some of them."""

    def threshold(self, manifest: Manifest, defense: Pipeline, /) -> float | None:
        """The distance beyond which squeeze flags an image; None if it cannot be used."""

    def see(self, seen: Seen, /) -> None:
        """Take an image. This takes no time."""
