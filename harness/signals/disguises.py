"""An attacker who changes each post, so that its pixels are unlike those of the last ones.

The change is not part of the attack's budget: what is scored at the end is the image without it.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from harness.budget import as_pixels, to_8_bits
from harness.signals.client import OneByOne
from harness.signals.traffic import Scene
from harness.types import Case, Posted, Victim

Pixels8: TypeAlias = NDArray[np.uint8]
Disguise: TypeAlias = Callable[[Scene, Case], Callable[[Pixels8], Pixels8]]
"""Returns what changes the posts of one photograph."""

_CELLS = 32
"""A painted corner is one of 32 x 32 cells."""
_FIELD = (4, 4)
_FIELD_LEVELS = 40
_PASTED_SIDE = 0.5


@dataclass(frozen=True)
class Disguised:
    """A way of posting: with one key, each post changed by some disguises, the first one first."""

    disguises: tuple[Disguise, ...]

    def __call__(self, scene: Scene, case: Case) -> Victim:
        """Open a client; see :data:`harness.signals.searches.Way`."""
        return _Disguising(scene.client(case), [each(scene, case) for each in self.disguises])


class _Disguising(OneByOne):
    def __init__(self, inner: OneByOne, changes: list[Callable[[Pixels8], Pixels8]]) -> None:
        self._inner, self._changes = inner, changes

    def post(self, image: Posted, draws: int = 1) -> NDArray[np.float32]:
        """Change an image, and post it; see :class:`OneByOne`."""
        changed = to_8_bits(as_pixels(image))
        for change in self._changes:
            changed = change(changed)
        return self._inner.post(changed, draws)


def corners(scene: Scene, case: Case) -> Callable[[Pixels8], Pixels8]:
    """Paint a small cell in each corner, each time in other colours."""
    rng = scene.random(f"corners/{case.file}")

    def change(image: Pixels8) -> Pixels8:
        painted = image.copy()
        height, width = (-(-side // _CELLS) for side in image.shape[:2])
        for rows in (slice(height), slice(-height, None)):
            for columns in (slice(width), slice(-width, None)):
                painted[rows, columns] = rng.integers(0, 256, 3)
        return painted

    return change


def geometry(scene: Scene, case: Case) -> Callable[[Pixels8], Pixels8]:
    """Crop to 90–98 %, rotate by 3–10°, flip, and change gamma and contrast."""
    rng = scene.random(f"geometry/{case.file}")

    def change(image: Pixels8) -> Pixels8:
        height, width = image.shape[:2]
        kept = rng.uniform(0.90, 0.98)
        angle = rng.uniform(3, 10) * rng.choice([-1, 1])
        matrix = cv2.getRotationMatrix2D((width / 2, height / 2), angle, 1 / kept)
        slack = (1 - kept) / 2
        matrix[:, 2] = matrix[:, 2] + rng.uniform(-slack, slack, 2) * (width, height)
        turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
        if rng.random() < 0.5:
            turned = turned[:, ::-1]
        light = as_pixels(np.asarray(turned, np.uint8)) ** np.float32(rng.uniform(0.75, 1.33))
        return to_8_bits((light - np.float32(0.5)) * np.float32(rng.uniform(0.8, 1.2)) + 0.5)

    return change


def fields(scene: Scene, case: Case) -> Callable[[Pixels8], Pixels8]:
    """Add a smooth random field of up to ±40 of 255."""
    rng = scene.random(f"fields/{case.file}")

    def change(image: Pixels8) -> Pixels8:
        height, width, channels = image.shape
        coarse = rng.uniform(-_FIELD_LEVELS, _FIELD_LEVELS, (*_FIELD, channels)) / 255
        field = cv2.resize(
            coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC
        )
        return to_8_bits(as_pixels(image) + np.asarray(field, np.float32))

    return change


def pasted(scene: Scene, case: Case) -> Callable[[Pixels8], Pixels8]:
    """Paste another photograph of half the side into a corner, each time another one."""
    rng = scene.random(f"pasted/{case.file}")
    others = [other for other in scene.others if other.file != case.file] or [case]

    def change(image: Pixels8) -> Pixels8:
        height, width = (round(side * _PASTED_SIDE) for side in image.shape[:2])
        other = others[rng.integers(len(others))].image
        small = cv2.resize(other, (width, height), interpolation=cv2.INTER_AREA)
        mixed = image.copy()
        rows = slice(height) if rng.random() < 0.5 else slice(-height, None)
        columns = slice(width) if rng.random() < 0.5 else slice(-width, None)
        mixed[rows, columns] = to_8_bits(np.asarray(small, np.float32))
        return mixed

    return change
