"""What a model answers on one image."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from service.evaluate.conditions import Condition

TOP = 5


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Answer(_Frozen):
    """One answer.

    Attributes:
        top: the most probable classes, the first ones first; at most :data:`TOP`.
        agreement: the share of the draws whose class is the answer's; None if it is not known.
    """

    top: tuple[int, ...]
    agreement: float | None


class Outcome(_Frozen):
    """What a model answers on one image under one condition.

    Attributes:
        answers: by the number of draws. All draws are used: eight make eight answers with one draw.
        ms: by the number of draws, what one answer costs.
    """

    answers: dict[int, tuple[Answer, ...]]
    ms: dict[int, float]


class Subject(Protocol):
    """A model that answers: in this process, or behind an endpoint.

    Attributes:
        model: its name.
        endpoint: its address; None in this process.
        identity: what its answers depend on, beside the images.
        classes: how many classes it has.
        labels: their labels; None if they are not known.
        provider: what runs the model.
        seed: chooses the draws; None if it draws by itself.
        cost: what the milliseconds of an outcome are, in a few words.
        parallel: how many images so many milliseconds are for.
        workers: how many images are best given to it at once.
    """

    model: str
    endpoint: str | None
    identity: Mapping[str, JsonValue]
    classes: int
    labels: Sequence[str] | None
    provider: str
    seed: int | None
    cost: str
    parallel: int
    workers: int

    def answer(self, body: bytes, conditions: Sequence[Condition]) -> dict[str, Outcome]:
        """Classify an image file under each condition; called from several threads.

        Raises:
            UnreadableError: the file cannot be classified, though another file may.
        """

    def close(self) -> None:
        """Free what it holds."""


class UnreadableError(Exception):
    """An image file cannot be classified, under any condition."""
