"""From scores to rates: accuracy (ACC), attack success rate (ASR), and how sure they are."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.results import ImageResult, Run, Score

Z_95 = 1.959963984540054

_Outcome: TypeAlias = tuple[ImageResult, Score]


@dataclass(frozen=True)
class Rate:
    """A share in [0, 1] with its 95 % interval.

    The interval is Wilson's with the number of images: the draws of one image are not independent
    of each other, so they make the share smoother but not surer.
    """

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, shares: Iterable[float]) -> "Rate":
        """The mean over images, of a share in [0, 1] for each.

        Raises:
            ValueError: there is no image.
        """
        values = list(shares)
        if not values:
            raise ValueError("A rate needs at least one image.")
        low, high = wilson(sum(values), len(values))
        return cls(sum(values) / len(values), low, high)


def wilson(successes: float, total: int) -> tuple[float, float]:
    """The 95 % interval of a share, by Wilson 1927.

    Args:
        successes: in [0, total]; a sum of shares is allowed.
        total: at least 1.

    Returns:
        (low, high) in [0, 1].
    """
    share = successes / total
    centre = share + Z_95**2 / (2 * total)
    spread = Z_95 * math.sqrt(share * (1 - share) / total + Z_95**2 / (4 * total**2))
    scale = 1 + Z_95**2 / total
    return max(0.0, (centre - spread) / scale), min(1.0, (centre + spread) / scale)


@dataclass(frozen=True)
class Rates:
    """What a round of a run came to.

    ``acc`` and ``asr`` are means over images and draws. ``any`` counts an image when one of its
    draws fell, ``majority`` when more than half did; the clean image's own are beside them where
    somebody compares: call :func:`rates` with round 0.
    """

    acc: Rate
    asr: Rate
    any: Rate
    majority: Rate
    l2_rms: float
    linf: float


def success(image: ImageResult, answer: int) -> bool:
    """Whether an answer is what the attacker wants: the target, or without one, a wrong class."""
    return answer != image.label if image.target is None else answer == image.target


def success_share(image: ImageResult, score: Score) -> float:
    """The share of the draws that answer as the attacker wants."""
    return sum(success(image, each) for each in score.classes) / len(score.classes)


def accuracy(image: ImageResult, score: Score) -> float:
    """The share of the draws that answer with the true class."""
    return score.classes.count(image.label) / len(score.classes)


def score_at(image: ImageResult, round_: int) -> Score:
    """The score of a round, or of the last one before it: an image that was hit stays as it was."""
    return max((s for s in image.scores if s.round <= round_), key=lambda score: score.round)


def scored_rounds(run: Run) -> tuple[int, ...]:
    """Every round that some image was scored after, 0 first: one that was hit has no later ones."""
    return tuple(sorted({score.round for image in run.images for score in image.scores}))


def rates(run: Run, round_: int | None = None) -> Rates:
    """The rates of one round, by default of the final iterates.

    Raises:
        ValueError: the run has no image.
    """
    last = max(scored_rounds(run), default=0) if round_ is None else round_
    outcomes = [(image, score_at(image, last)) for image in run.images]
    return _rates(outcomes, outcomes)


def worst_case(runs: Sequence[Run]) -> Rates:
    """Image by image the attack that hurt most: what the defence is worth against all of them.

    ``acc`` takes each image from the attack that left it the fewest right answers; everything else
    takes it from the one that succeeded most, and from the first of those that did equally.

    Args:
        runs: on the same endpoint and images; of images that some lack, the common ones count.

    Raises:
        ValueError: no image is in all of the runs.
    """
    finals = [
        {
            image.file: (image, max(image.scores, key=lambda score: score.round))
            for image in run.images
        }
        for run in runs
    ]
    files = [file for file in finals[0] if all(file in each for each in finals)] if finals else []
    by_image = [[each[file] for each in finals] for file in files]
    return _rates(
        [min(outcomes, key=lambda outcome: accuracy(*outcome)) for outcomes in by_image],
        [max(outcomes, key=lambda outcome: success_share(*outcome)) for outcomes in by_image],
    )


def _rates(for_acc: Sequence[_Outcome], for_asr: Sequence[_Outcome]) -> Rates:
    """The rates of one outcome for each image; l2 and l∞ are those of ``for_asr``."""
    successes = [success_share(*outcome) for outcome in for_asr]
    return Rates(
        acc=Rate.of(accuracy(*outcome) for outcome in for_acc),
        asr=Rate.of(successes),
        any=Rate.of(float(share > 0) for share in successes),
        majority=Rate.of(float(share > 0.5) for share in successes),
        l2_rms=sum(score.l2_rms for _, score in for_asr) / len(for_asr),
        linf=sum(score.linf for _, score in for_asr) / len(for_asr),
    )
