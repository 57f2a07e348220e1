"""The last images of each client: at most 256 of an hour, of at most 64 clients.

A full window takes 256 x (3,072 + 256 + 20) bytes, and 64 of them take 55 MB.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from service.signals.episode import Episode
from service.signals.fingerprint import DIRECTIONS, Direction, Means

WINDOW = 256
"""The most images of a client that are kept."""
WINDOW_S = 3600.0
"""How long an image is kept."""
MOST_CLIENTS = 64
"""The most clients whose images are kept; the one that was away for longest goes first."""

Sight: TypeAlias = tuple[float, float]
"""When an image was seen, as :func:`time.monotonic` counts, and the agreement of its draws."""


@dataclass(frozen=True)
class Fingerprint:
    """What is kept of an image.

    Attributes:
        at_s: when it was seen, as :func:`time.monotonic` counts.
        identity: a digest of its pixels.
        means: its block means.
        direction: where its scores point.
        agreement: of its draws, in [0, 1]; NaN if there was only one.
    """

    at_s: float
    identity: int
    means: Means
    direction: Direction
    agreement: float


class Window:
    """A ring of one client's fingerprints; new ones overwrite the oldest.

    Attributes:
        episode: what was noticed about this client.
        means: ``(256, values)``, and ``directions`` ``(256, 128)``, of which ``kept`` rows count.
    """

    def __init__(self, values: int) -> None:
        self.episode = Episode()
        self.means: NDArray[np.uint8] = np.zeros((WINDOW, values), np.uint8)
        self.directions: NDArray[np.float16] = np.zeros((WINDOW, DIRECTIONS), np.float16)
        self._at_s = np.full(WINDOW, -math.inf)
        self._identities = np.zeros(WINDOW, np.uint64)
        self._agreements = np.full(WINDOW, math.nan, np.float32)
        self._next = 0
        self._squeezed: deque[tuple[float, float, bool]] = deque(maxlen=WINDOW)

    def __len__(self) -> int:
        return int(self.kept.sum())

    @property
    def kept(self) -> NDArray[np.bool_]:
        """``(256,)``: which rows have an image."""
        return self._at_s > -math.inf

    def has(self, identity: int) -> bool:
        """Whether it has a bit-identical image."""
        return bool((self._identities[self.kept] == np.uint64(identity)).any())

    def add(self, fingerprint: Fingerprint) -> None:
        """Keep an image."""
        row, self._next = self._next, (self._next + 1) % WINDOW
        self.means[row] = fingerprint.means
        self.directions[row] = fingerprint.direction
        self._at_s[row] = fingerprint.at_s
        self._identities[row] = fingerprint.identity
        self._agreements[row] = fingerprint.agreement

    def seen(self, rows: NDArray[np.bool_]) -> list[Sight]:
        """The images of some rows, as far as they have one."""
        rows = rows & self.kept
        return list(zip(self._at_s[rows].tolist(), self._agreements[rows].tolist(), strict=True))

    def add_squeezed(self, at_s: float, agreement: float, *, is_far: bool) -> None:
        """Count one of the last 256 images that were inferred again."""
        self._squeezed.append((at_s, agreement, is_far))

    @property
    def squeezed(self) -> list[Sight]:
        """Those of them that the defence moves far."""
        return [(at_s, agreement) for at_s, agreement, is_far in self._squeezed if is_far]

    @property
    def is_empty(self) -> bool:
        """Whether nothing is kept."""
        return not self.kept.any() and not self._squeezed

    def forget(self, before_s: float) -> None:
        """Erase the images that were seen before a time."""
        while self._squeezed and self._squeezed[0][0] < before_s:
            self._squeezed.popleft()
        old = self.kept & (self._at_s < before_s)
        if old.any():
            self.means[old] = 0
            self.directions[old] = 0
            self._identities[old] = 0
            self._agreements[old] = math.nan
            self._at_s[old] = -math.inf


class Windows:
    """The windows of the clients that were seen last."""

    def __init__(self, values: int) -> None:
        """Begin without any.

        Args:
            values: how many block means an image has.
        """
        self._values = values
        self._windows: OrderedDict[str, Window] = OrderedDict()

    def __iter__(self) -> Iterator[Window]:
        return iter(self._windows.values())

    def __len__(self) -> int:
        return len(self._windows)

    def of(self, client: str) -> Window:
        """The window of a client that was just seen."""
        window = self._windows.get(client)
        if window is None:
            if len(self._windows) == MOST_CLIENTS:
                self._windows.popitem(last=False)
            window = self._windows[client] = Window(self._values)
        self._windows.move_to_end(client)
        return window

    def forget(self, before_s: float) -> None:
        """Erase the images that were seen before a time, and the windows that are empty then."""
        for client, window in list(self._windows.items()):
            window.forget(before_s)
            if window.is_empty:
                del self._windows[client]
