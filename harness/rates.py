"""From scores to rates: accuracy (ACC) and attack success rate (ASR) with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.results import ImageResult, Run, Score
from service.evaluate.intervals import Rate as Rate
from service.evaluate.intervals import wilson as wilson

_Outcome: TypeAlias = tuple[ImageResult, Score]


@dataclass(frozen=True)
class Rates:
    """The rates of one round of a run; :func:`rates` with round 0 gives those of the clean images.

    ``acc`` and ``asr`` are means over images and draws. ``any`` counts an image if one of its draws
    succeeds for the attacker, ``majority`` if more than half do. ``l2_rms`` and ``linf`` are means
    over images.
    """

    acc: Rate
    asr: Rate
    any: Rate
    majority: Rate
    l2_rms: float
    linf: float


def success(image: ImageResult, answer: int) -> bool:
    """Return whether an answer is the target or, if there is no target, a wrong class."""
    return answer != image.label if image.target is None else answer == image.target


def success_share(image: ImageResult, score: Score) -> float:
    """Return the share of the draws on which the attack succeeds."""
    return sum(success(image, each) for each in score.classes) / len(score.classes)


def accuracy(image: ImageResult, score: Score) -> float:
    """Return the share of the draws that answer with the true class."""
    return score.classes.count(image.label) / len(score.classes)


def score_at(image: ImageResult, round_: int) -> Score:
    """Return the last score up to a round. An attack that stopped early has no later score."""
    return max((s for s in image.scores if s.round <= round_), key=lambda score: score.round)


def scored_rounds(run: Run) -> tuple[int, ...]:
    """Return the rounds in which at least one image was scored, 0 first."""
    return tuple(sorted({score.round for image in run.images for score in image.scores}))


def rates(run: Run, round_: int | None = None) -> Rates:
    """Return the rates of one round, by default those of the final iterates.

    Raises:
        ValueError: the run has no image.
    """
    last = max(scored_rounds(run), default=0) if round_ is None else round_
    outcomes = [(image, score_at(image, last)) for image in run.images]
    return _rates(outcomes, outcomes)


def worst_case(runs: Sequence[Run]) -> Rates:
    """Return the rates against an attacker who takes the best attack for each image.

    ``acc`` takes each image from the attack with the fewest right answers. All other rates take it
    from the attack with the most successes, and from the first such attack if several are equal.

    Args:
        runs: runs on the same endpoint. Only the images that are in all of them count.

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
    """Return the rates of one outcome for each image. The sizes are those of ``for_asr``."""
    successes = [success_share(*outcome) for outcome in for_asr]
    return Rates(
        acc=Rate.of(accuracy(*outcome) for outcome in for_acc),
        asr=Rate.of(successes),
        any=Rate.of(float(share > 0) for share in successes),
        majority=Rate.of(float(share > 0.5) for share in successes),
        l2_rms=sum(score.l2_rms for _, score in for_asr) / len(for_asr),
        linf=sum(score.linf for _, score in for_asr) / len(for_asr),
    )
