"""From the answers to the figures: a row for each defence and number of draws."""

from collections.abc import Sequence
from datetime import UTC, datetime
from statistics import fmean
from typing import Literal

from pydantic import BaseModel, ConfigDict

from service import __version__
from service.evaluate.conditions import NONE, Condition
from service.evaluate.data import Data
from service.evaluate.intervals import Difference, Rate, paired_difference
from service.evaluate.measure import Measured
from service.evaluate.outcomes import TOP, Answer, Outcome, Subject

AGREEMENTS = (0.5, 0.75, 1.0)
"""The least agreements for which selective accuracy is shown."""


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Selective(_Frozen):
    """The answers whose draws agree.

    Attributes:
        agreement: the least share of the draws with the answer's class.
        answered: the share of all answers that agree so far.
        right: the share of those that are right; None if there are none.
    """

    agreement: float
    answered: float
    right: float | None


class Row(_Frozen):
    """The figures of one defence, or of one corruption, with one number of draws.

    Attributes:
        name: the specification of the defence, or what the corruption is.
        kind: whether it is a defence or a corruption.
        drawn: whether draws differ.
        draws: how many draws are averaged.
        top1: the share of answers whose most probable class is right.
        top5: the share with the right class among the five most probable ones; None if it is not
            known, or if the model has five classes or fewer.
        difference: of ``top1`` from no defence.
        agreement: the mean; None with one draw, or if it is not known.
        selective: by the least agreement; empty with one draw, or if it is not known.
        ms: what one image costs.
        images_per_s: how many images a second that is: of one core, or of the endpoint.
    """

    name: str
    kind: Literal["defense", "corruption"]
    drawn: bool
    draws: int
    top1: Rate
    top5: Rate | None
    difference: Difference
    agreement: float | None
    selective: tuple[Selective, ...]
    ms: float
    images_per_s: float


class Unreadable(_Frozen):
    """A file that was left out."""

    file: str
    message: str


class Report(_Frozen):
    """All that an evaluation shows.

    Attributes:
        images: how many images were classified.
        preference: the defences in the order in which they are recommended.
        keep: the share of the accuracy without a defence that a recommended defence keeps.
        seed: chose the draws; None if an endpoint drew them.
        cost: what ``ms`` and ``images_per_s`` are of.
    """

    warpguard: str
    created: str
    model: str
    provider: str
    endpoint: str | None
    data: str
    images: int
    unreadable: tuple[Unreadable, ...]
    notes: tuple[str, ...]
    seed: int | None
    cost: str
    preference: tuple[str, ...]
    keep: float
    rows: tuple[Row, ...]

    def row(self, name: str, draws: int = 1) -> Row:
        """Return the row of a defence with a number of draws."""
        return next(row for row in self.rows if (row.name, row.draws) == (name, draws))


def report(
    data: Data,
    measured: Measured,
    conditions: Sequence[Condition],
    subject: Subject,
    *,
    keep: float,
) -> Report:
    """Return the figures of what was measured.

    Args:
        data: the images.
        measured: what is known about each of them.
        conditions: what was done to them; the defences in the order of preference.
        subject: what classified them.
        keep: the share of the accuracy that a recommended defence keeps, in [0, 1].
    """
    unreadable = tuple(
        Unreadable(file=image.file, message=record.error)
        for image, record in measured
        if record.error is not None
    )
    return Report(
        warpguard=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model=subject.model,
        provider=subject.provider,
        endpoint=subject.endpoint,
        data=data.name,
        images=len(measured) - len(unreadable),
        unreadable=unreadable,
        notes=data.notes,
        seed=subject.seed,
        cost=subject.cost,
        preference=tuple(each.name for each in conditions if each.kind == "defense"),
        keep=keep,
        rows=tuple(_rows(measured, conditions, subject)),
    )


def _rows(measured: Measured, conditions: Sequence[Condition], subject: Subject) -> list[Row]:
    """Return the rows in the order of the conditions, with the numbers of draws from the least."""
    seen = [(image.label, record.outcomes) for image, record in measured if record.error is None]
    bare = [_right(label, outcomes[NONE].answers[1], 1) for label, outcomes in seen]
    return [
        _row(
            condition, draws, [(label, each[condition.name]) for label, each in seen], bare, subject
        )
        for condition in conditions
        for draws in sorted(seen[0][1][condition.name].answers)
    ]


def _row(
    condition: Condition,
    draws: int,
    seen: Sequence[tuple[int, Outcome]],
    bare: Sequence[float],
    subject: Subject,
) -> Row:
    answered = [(label, outcome.answers[draws]) for label, outcome in seen]
    top1 = [_right(label, answers, 1) for label, answers in answered]
    ranked = min(len(answer.top) for _, answers in answered for answer in answers)
    ms = fmean(outcome.ms[draws] for _, outcome in seen)
    agreements = [answer.agreement for _, answers in answered for answer in answers]
    known = [each for each in agreements if each is not None]
    agree = draws > 1 and len(known) == len(agreements)
    return Row(
        name=condition.name,
        kind=condition.kind,
        drawn=condition.drawn,
        draws=draws,
        top1=Rate.of(top1),
        top5=Rate.of(_right(label, answers, TOP) for label, answers in answered)
        if ranked == TOP < subject.classes
        else None,
        difference=paired_difference(top1, bare),
        agreement=fmean(known) if agree else None,
        selective=tuple(_selective(least, answered) for least in AGREEMENTS) if agree else (),
        ms=ms,
        images_per_s=1e3 * subject.parallel / ms,
    )


def _right(label: int, answers: Sequence[Answer], top: int) -> float:
    """Return the share of the answers that have the label among their most probable classes."""
    return fmean(label in answer.top[:top] for answer in answers)


def _selective(least: float, answered: Sequence[tuple[int, Sequence[Answer]]]) -> Selective:
    every = [(label, answer) for label, answers in answered for answer in answers]
    # The agreement is a float32's share of a few draws: 3 of 4 must count as 0.75.
    kept = [(label, a) for label, a in every if (a.agreement or 0.0) > least - 1e-6]
    right = fmean(label == answer.top[0] for label, answer in kept) if kept else None
    return Selective(agreement=least, answered=len(kept) / len(every), right=right)
