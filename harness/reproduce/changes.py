"""Table I: how much each defence changes an image, and how much accuracy that costs."""

from collections.abc import Mapping
from random import Random
from typing import Any

import numpy as np

from defenses import Pipeline
from harness.budget import l2_rms
from harness.endpoint import HttpTarget
from harness.rates import Rate
from harness.report.similarity import ssim
from harness.reproduce import published
from harness.reproduce.outcome import Figure
from harness.reproduce.reproducer import Reproducer
from harness.types import Pixels

_SHIFT_PX = 2
"""The shift by the published code, which pads an image and crops it at (0, 0)."""
_LEVELS = 8
"""The number of levels with three bits."""


def moved(image: Pixels) -> Pixels:
    """Move an image two pixels to the right and down, and reflect its edge."""
    padded = np.pad(image, ((_SHIFT_PX, 0), (_SHIFT_PX, 0), (0, 0)), "reflect")
    return padded[: image.shape[0], : image.shape[1]]


def cut_off(image: Pixels) -> Pixels:
    """Cut off all but the upper three bits of each channel, so that the image becomes darker."""
    levels = np.minimum(np.floor(image * _LEVELS), _LEVELS - 1)
    return (levels / _LEVELS).astype(np.float32)


def table_1(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Return l2, SSIM and accuracy of each defence, and of variants that explain the paper's."""
    figures: list[Figure] = []
    for name, defense in defenses.items():
        pipeline = Pipeline.parse(defense)
        changed: list[Any] = [pipeline(c.image, Random(c.file)) for c in reproducer.cases]
        with HttpTarget(reproducer.url, defense=defense) as target:
            repeated = [
                case for case in reproducer.cases for _ in range(reproducer.scale.scoring_draws)
            ]
            answers = target.classes([case.image for case in repeated])
        right = answers == np.array([case.label for case in repeated])
        shares = right.reshape(len(reproducer.cases), -1).mean(axis=1)
        reproducer.on_progress(f"table1 {name}")("photographs", len(shares), len(shares))
        paper = published.TABLE_1.get(name.partition(",")[0], (None, None, None))
        figures += _changes(name, reproducer, changed, paper)
        figures.append(Figure.share(name, "ACC", "ACC", Rate.of(shares.tolist()), paper[2]))
        if name == "fd":
            shifted = [moved(each) for each in changed]
            figures += _changes("fd, moved by 2 px", reproducer, shifted, paper)
        if name == "bitdepth":
            cut = [cut_off(case.image) for case in reproducer.cases]
            figures += _changes("bitdepth, bits cut off", reproducer, cut, paper)
    return figures


def _changes(
    row: str, reproducer: Reproducer, changed: list[Pixels], paper: tuple[float | None, ...]
) -> list[Figure]:
    pairs = list(zip(changed, reproducer.cases, strict=True))
    l2 = float(np.mean([l2_rms(image - case.image) for image, case in pairs]))
    similarity = float(np.mean([ssim(image, case.image) for image, case in pairs]))
    return [
        Figure(row=row, column="l2", measure="l2", ours=l2, paper=paper[0]),
        Figure(row=row, column="SSIM", measure="SSIM", ours=similarity, paper=paper[1]),
    ]
