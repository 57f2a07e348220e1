"""One client of the server: it posts images one after the other, and counts what is noticed."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from harness.endpoint import HttpTarget
from harness.signals.meter import Meter
from harness.signals.outcome import ClientRecord
from harness.types import Posted


class OneByOne(ABC):
    """A victim whose images are posted one after the other."""

    @abstractmethod
    def post(self, image: Posted, draws: int = 1) -> NDArray[np.float32]:
        """Post an image, and return its mean probabilities over fresh draws: ``(classes,)``."""

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """Return the most probable class of each image: ``(n,)``."""
        return np.array([self.post(image).argmax() for image in images], np.intp)

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """Return the mean probabilities over fresh draws: ``(n, classes)``."""
        return np.stack([self.post(image, draws) for image in images])


class Client(OneByOne):
    """The posts of one key.

    Attributes:
        label: the true class of the next posts.
    """

    def __init__(self, target: HttpTarget, meter: Meter, on_post: Callable[[], None]) -> None:
        """Set up.

        Args:
            target: the server, asked with the client's own key.
            meter: reads what the server's signals count.
            on_post: called after each post.
        """
        self.label = -1
        self._target, self._meter, self._on_post = target, meter, on_post
        self._posts = self._right = self._noticed = self._squeezed = self._far = 0
        self._flagged: Counter[str] = Counter()
        self._skipped: Counter[str] = Counter()
        self._first: dict[str, int] = {}
        self._events: list[int] = []

    def post(self, image: Posted, draws: int = 1) -> NDArray[np.float32]:
        """Post pixels; see :class:`OneByOne`."""
        answers = self._target.probabilities([image], draws)
        self._count(int(answers[0].argmax()))
        answer: NDArray[np.float32] = answers[0]
        return answer

    def upload(self, file: bytes) -> None:
        """Post an image file as it is."""
        self._count(self._target.upload(file))

    def _count(self, answer: int) -> None:
        self._posts += 1
        self._right += answer == self.label
        found = self._meter.after_a_post()
        flagged = {name: count for name, count in found.flagged.items() if count}
        self._flagged.update(flagged)
        self._skipped.update({name: count for name, count in found.skipped.items() if count})
        for signal in flagged:
            self._first.setdefault(signal, self._posts)
        self._squeezed += found.squeezed
        self._far += found.far
        self._noticed += bool(flagged or found.far)
        if any(found.events.values()):
            self._events.append(self._posts)
        self._on_post()

    @property
    def record(self) -> ClientRecord:
        """What was counted so far."""
        return ClientRecord(
            posts=self._posts,
            right=self._right,
            noticed=self._noticed,
            flagged=dict(self._flagged),
            first=self._first.copy(),
            squeezed=self._squeezed,
            far=self._far,
            events=tuple(self._events),
            skipped=dict(self._skipped),
        )
