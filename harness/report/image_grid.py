"""Grids of a run's images: original, adversarial, difference and defended."""

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from random import SystemRandom
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from defenses import DefenseError, Pipeline
from harness.errors import RunError
from harness.rates import score_at, scored_rounds
from harness.report.groups import plain
from harness.report.tables import linf
from harness.results import ADVERSARIAL, CLEAN, ImageResult, Run, Score, image_name
from models import imagenet_labels

AMPLIFIED = 8
"""The factor by which a shown difference is enlarged."""
_GREY = 128
_LARGEST_SIDE_PX = 299

_Pixels: TypeAlias = NDArray[np.uint8]


@dataclass(frozen=True)
class Picture:
    """One picture of a grid, with its heading, its caption, and a ``data:`` address."""

    heading: str
    caption: str
    alt: str
    uri: str


@dataclass(frozen=True)
class ImageGrid:
    """The pictures of one photograph, in order."""

    file: str
    pictures: tuple[Picture, ...]


def image_grids(run: Run, folder: Path | None, at_most: int) -> list[ImageGrid]:
    """Return the grids of the first photographs whose images are in the run's folder.

    Raises:
        RunError: a file is not an image, or an adversarial example has another size.
    """
    if folder is None:
        return []
    found: list[ImageGrid] = []
    for image in run.images:
        paths = [folder / kind / image_name(image.file) for kind in (CLEAN, ADVERSARIAL)]
        if len(found) < at_most and all(path.is_file() for path in paths):
            found.append(_image_grid(run, image, *map(_read, paths)))
    return found


def data_uri(png: bytes) -> str:
    """Return a ``data:`` address that contains a PNG file."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def amplified(clean: _Pixels, adversarial: _Pixels) -> _Pixels:
    """Return the amplified difference of two images around middle grey, clipped to [0, 255]."""
    difference = adversarial.astype(np.int16) - clean
    shown: _Pixels = np.clip(_GREY + AMPLIFIED * difference, 0, 255).astype(np.uint8)
    return shown


def _image_grid(run: Run, image: ImageResult, clean: _Pixels, adversarial: _Pixels) -> ImageGrid:
    if clean.shape != adversarial.shape:
        raise RunError(f"{image.file}: the adversarial example has another size.")
    names, first, final = _Names(run), score_at(image, 0), score_at(image, max(scored_rounds(run)))
    goal = "any other class" if image.target is None else names.of(image.target)
    captions = (
        f"Label: {names.of(image.label)}. Answered: {names.answers(first)}",
        f"Wanted: {goal}. Answered: {names.answers(final)}",
        f"Around grey. l2 {final.l2_rms:.3g}, l∞ {linf(final.linf)}",
    )
    pictures = [
        _picture(image, "Original", captions[0], clean),
        _picture(image, "Adversarial", captions[1], adversarial),
        _picture(image, f"Difference ×{AMPLIFIED}", captions[2], amplified(clean, adversarial)),
    ]
    try:
        pipeline = Pipeline.parse(run.endpoint.defense)
        draw = pipeline.sample(SystemRandom(), adversarial.shape)
        defended = pipeline.apply(adversarial, draw).astype(np.uint8)
    except DefenseError:
        return ImageGrid(plain(image.file), tuple(pictures))
    chance = "on a fresh draw" if pipeline.random else "without randomness"
    caption = f"{plain(run.endpoint.defense)}, {chance}"
    pictures.append(_picture(image, "Defended", caption, defended))
    return ImageGrid(plain(image.file), tuple(pictures))


class _Names:
    """Names of classes, if the run's model has the classes of ImageNet-1k."""

    def __init__(self, run: Run) -> None:
        known = run.endpoint.labels == "imagenet-1k"
        self._labels: Sequence[str] = imagenet_labels() if known else ()

    def of(self, class_: int) -> str:
        return self._labels[class_] if self._labels else f"class {class_}"

    def answers(self, score: Score) -> str:
        (most, times), *others = Counter(score.classes).most_common()
        more = f", and {len(others)} more" if others else ""
        return f"{self.of(most)}, {times} of {len(score.classes)}{more}"


def _read(path: Path) -> _Pixels:
    try:
        with Image.open(path) as image:
            return np.asarray(image.convert("RGB"))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        raise RunError(f"{path} cannot be read as an image.") from None


def _picture(image: ImageResult, heading: str, caption: str, pixels: _Pixels) -> Picture:
    shown = Image.fromarray(pixels)
    shown.thumbnail((_LARGEST_SIDE_PX, _LARGEST_SIDE_PX))
    buffer = BytesIO()
    shown.save(buffer, "PNG", optimize=True)
    alt = f"{heading}, {plain(image.file)}. {caption}."
    return Picture(heading, caption, alt, data_uri(buffer.getvalue()))
