"""What a reproduction writes: our figures beside the paper's, with the runs that they come from."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from harness.rates import Rate, wilson
from harness.reproduce.published import PHOTOGRAPHS
from harness.results import DatasetRecord, Run
from models import write_atomically


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Record):
    """One number of a table.

    Attributes:
        row, column: where it stands.
        measure: what it is: ``ACC``, ``ASR``, ``l2``, …
        ours: what was measured here; a share in [0, 1], a number, or words such as ``100+``.
        low, high: the 95 % interval of a share.
        paper: what the paper has, in the same way; of a share also words: ``< 20``, ``≈ 40``
            percent. None where it has nothing.
    """

    row: str
    column: str
    measure: str
    ours: float | str
    low: float | None = None
    high: float | None = None
    paper: float | str | None = None

    @classmethod
    def share(
        cls, row: str, column: str, measure: str, rate: Rate, paper: float | str | None
    ) -> Self:
        """A share with its interval."""
        return cls(
            row=row,
            column=column,
            measure=measure,
            ours=rate.share,
            low=rate.low,
            high=rate.high,
            paper=paper,
        )

    @property
    def is_share(self) -> bool:
        """Whether it is one, so that it is shown in percent."""
        return self.low is not None

    @property
    def differs(self) -> bool:
        """Whether the two shares differ beyond what their photographs leave open.

        They do where our interval and the paper's, which has a hundred photographs, have nothing
        in common. What the paper has in words, such as ``< 20`` percent, is a bound.
        """
        if self.low is None or self.high is None or self.paper is None:
            return False
        low, high = _interval(self.paper)
        return self.high < low or high < self.low


def _interval(paper: float | str) -> tuple[float, float]:
    """Where the paper's share may lie."""
    if isinstance(paper, float):
        return wilson(paper * PHOTOGRAPHS, PHOTOGRAPHS)
    sign, _, percent = paper.partition(" ")
    share = float(percent) / 100
    bounds = {"<": (0.0, share), ">": (share, 1.0)}
    return bounds.get(sign) or wilson(share * PHOTOGRAPHS, PHOTOGRAPHS)


class Reproduction(_Record):
    """One table or figure of the paper, done again.

    Attributes:
        item: its name, such as ``table7``.
        title: what it shows.
        scale: the name of the scale, and its numbers.
        model, model_sha256: what was attacked.
        dataset: the photographs.
        created: when it was finished, ISO 8601 in UTC.
        last_call_seconds: what was there from earlier calls was not done again, and is not in it.
        versions: of the packages that matter.
        notes: what differs from the paper's way of doing it.
        figures: the numbers.
        runs: what they were computed from, where attacks were run.
    """

    format: Literal[1] = 1
    item: str
    title: str
    scale: tuple[str, dict[str, Any]]
    model: str
    model_sha256: str | None
    dataset: DatasetRecord
    created: str
    last_call_seconds: float
    versions: dict[str, str]
    notes: tuple[str, ...]
    figures: tuple[Figure, ...]
    runs: tuple[Run, ...] = ()

    def write(self, folder: Path) -> Path:
        """Write it as ``ITEM.json``, whole or not at all."""
        path = folder / f"{self.item}.json"
        write_atomically(path, (self.model_dump_json() + "\n").encode())
        return path
