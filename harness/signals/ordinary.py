"""An ordinary day: photographs as files, in any order, each in one or several versions."""

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from PIL import Image, ImageOps

from harness.signals.traffic import Scene, Sent, Traffic

Versions: TypeAlias = Callable[[bytes, np.random.Generator], list[bytes]]
"""From an image file to the files that are posted of it."""

_BURST = 5
_BURST_SHIFT_PX = 2
_BURST_EXPOSURE = 0.03


def once(file: bytes, _: np.random.Generator) -> list[bytes]:
    """Return the file alone."""
    return [file]


def four_times(file: bytes, _: np.random.Generator) -> list[bytes]:
    """Return the file four times, as clients that retry post it."""
    return [file] * 4


def re_encoded(file: bytes, _: np.random.Generator) -> list[bytes]:
    """Return JPEG files of two qualities, a PNG file, and one at three quarters of the size."""
    image = _opened(file)
    smaller = image.resize((max(image.width * 3 // 4, 1), max(image.height * 3 // 4, 1)))
    return [
        _saved(image, "JPEG", quality=75),
        _saved(image, "JPEG", quality=90),
        _saved(image, "PNG"),
        _saved(smaller, "JPEG", quality=90),
    ]


def burst(file: bytes, rng: np.random.Generator) -> list[bytes]:
    """Return five pictures of a hand-held camera, each moved and exposed a little."""
    pixels = np.asarray(_opened(file))
    height, width = pixels.shape[:2]
    frames = []
    for _ in range(_BURST):
        down, right = rng.integers(-_BURST_SHIFT_PX, _BURST_SHIFT_PX + 1, 2)
        move = np.array([[1, 0, right], [0, 1, down]], np.float32)
        moved = cv2.warpAffine(pixels, move, (width, height), borderMode=cv2.BORDER_REFLECT)
        light = 1 + rng.uniform(-_BURST_EXPOSURE, _BURST_EXPOSURE)
        frame = np.clip(np.rint(np.asarray(moved, np.float64) * light), 0, 255).astype(np.uint8)
        frames.append(_saved(Image.fromarray(frame), "JPEG", quality=90))
    return frames


@dataclass(frozen=True, kw_only=True)
class Ordinary(Traffic):
    """All photographs of the dataset, each client in another random order.

    Attributes:
        versions: which files are posted of a photograph.
        orders: how many clients there are.
        together: whether the versions of a photograph come one after the other.
    """

    versions: Versions
    orders: int = 1
    together: bool = False

    def posts(self, scene: Scene) -> int:
        """See :class:`Traffic`."""
        return self.orders * sum(len(files) for files in self._files(scene))

    def send(self, scene: Scene) -> Sent:
        """See :class:`Traffic`."""
        files = self._files(scene)
        for order in range(self.orders):
            client = scene.open()
            for place, version in self._order(files, scene.random(f"{self.name}/{order}")):
                client.label = scene.photographs[place].label
                client.upload(files[place][version])
        return Sent()

    def _files(self, scene: Scene) -> list[list[bytes]]:
        """Return the files of each photograph."""
        rng = scene.random(self.name)
        return [self.versions(each.path.read_bytes(), rng) for each in scene.photographs]

    def _order(self, files: list[list[bytes]], rng: np.random.Generator) -> list[tuple[int, int]]:
        """Return the posts of one client, each by its photograph and version."""
        if self.together:
            return [(i, v) for i in rng.permutation(len(files)) for v in range(len(files[i]))]
        every = [(i, v) for i, versions in enumerate(files) for v in range(len(versions))]
        return [every[i] for i in rng.permutation(len(every))]


def _opened(file: bytes) -> Image.Image:
    return ImageOps.exif_transpose(Image.open(io.BytesIO(file))).convert("RGB")


def _saved(image: Image.Image, kind: str, **options: int) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()
