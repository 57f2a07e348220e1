"""From the images of a folder, as the signals saw them, to a calibration."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from defenses import Pipeline
from models import Manifest
from service import __version__
from service.signals import conformal
from service.signals.calibration import (
    Calibration,
    Concentration,
    NamedDigest,
    Neighbors,
    SqueezeLimit,
)
from service.signals.coverage import coverage
from service.signals.episode import FIRST_LEVEL
from service.signals.fingerprint import Fingerprints, Means
from service.signals.neighbors import (
    LEAST_CLASSES,
    LEAST_COSINE,
    cosines,
    is_blank,
    same_direction,
    same_picture,
)
from service.signals.squeeze import DRAWS
from service.signals.window import WINDOW

_PROJECTIONS = 10
"""Each server has a projection of its own, so the threshold holds for several of them."""
_COSINE_STEPS = 1000


@dataclass(frozen=True)
class Measured:
    """One image.

    Attributes:
        distance: how far the defence moves its probabilities, in [0, 2]; see :mod:`squeeze`.
        agreement: of its draws, in [0, 1].
        right: whether the answer is right; None without a label.
        means: its block means.
        scores: ``(classes,)``, of one draw.
    """

    distance: float
    agreement: float
    right: bool | None
    means: Means
    scores: NDArray[np.float32]


def calibrate(
    measured: Sequence[Measured],
    manifest: Manifest,
    defense: Pipeline,
    *,
    draws: int,
    false_alarms: Fraction,
) -> Calibration:
    """Return the thresholds and the expected numbers of neighbours on some images.

    Args:
        measured: the images, at least :func:`conformal.least_images`.
        manifest: of the model.
        defense: the defence.
        draws: of each image.
        false_alarms: the share of further images that squeeze may flag.

    Raises:
        ValueError: there are too few images.
    """
    threshold = conformal.threshold([each.distance for each in measured], false_alarms)
    low, high = conformal.rate_interval(len(measured), false_alarms)
    shown = [each for each in measured if not is_blank(each.means)]  # blank images do not count
    return Calibration(
        created=datetime.now(UTC).replace(microsecond=0),
        version=__version__,
        model=NamedDigest(name=manifest.name, sha256=manifest.sha256),
        defense=NamedDigest(name=str(defense), sha256=defense.digest()),
        draws=draws,
        images=len(measured),
        false_alarms=float(false_alarms),
        squeeze=SqueezeLimit(draws=DRAWS, threshold=threshold, rate_low=low, rate_high=high),
        same_picture=_same_picture(shown),
        concentration=_concentration(shown, manifest),
        agreement=coverage(
            [each.agreement for each in measured], [each.right for each in measured]
        ),
    )


def _same_picture(shown: Sequence[Measured]) -> Neighbors:
    if len(shown) < 2:
        return Neighbors(mean=0, most=0)
    means = np.stack([each.means for each in shown])
    return _neighbors([same_picture(means[others], means[i]) for i, others in _windows(len(means))])


def _concentration(shown: Sequence[Measured], manifest: Manifest) -> Concentration | None:
    """The cosine at which no image has enough neighbours for an event; at least the shipped one."""
    classes = len(manifest.label_names)
    if classes < LEAST_CLASSES or len(shown) < 2:
        return None
    least = LEAST_COSINE
    for _ in range(_PROJECTIONS):
        # The shape of the images does not matter to the projection of their scores.
        fingerprints = Fingerprints((), classes)
        directions = np.stack(
            [
                fingerprints.direction(
                    each.scores, probabilities=manifest.output.kind == "probabilities"
                )
                for each in shown
            ]
        )
        for i, others in _windows(len(shown)):
            found = np.sort(cosines(directions[others], directions[i]))
            rank = max(1, FIRST_LEVEL * len(found) // WINDOW)
            if found[-rank] >= least:
                least = math.floor(_COSINE_STEPS * float(found[-rank]) + 1) / _COSINE_STEPS
    least = min(least, 1.0)
    near = [
        same_direction(directions[others], directions[i], least)
        for i, others in _windows(len(shown))
    ]
    return Concentration(least_cosine=least, **dict(_neighbors(near)))


def _windows(images: int) -> Iterator[tuple[int, NDArray[np.intp]]]:
    """Yield each image and at most 256 others, from all parts of the folder: a full window."""
    size = min(WINDOW, images - 1)
    steps = 1 + np.arange(size) * (images - 1) // size
    for image in range(images):
        yield image, (image + steps) % images


def _neighbors(near: Sequence[NDArray[np.bool_]]) -> Neighbors:
    """Return how many of 256 images would be near, from which of fewer are."""
    counts = [WINDOW * float(each.mean()) for each in near]
    return Neighbors(mean=float(np.mean(counts)), most=max(counts))
