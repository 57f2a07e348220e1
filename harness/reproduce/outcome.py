"""The result of a reproduction: our figures next to the paper's, and the runs behind them."""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict

from harness.files import write
from harness.rates import Rate, wilson
from harness.reproduce.published import PHOTOGRAPHS
from harness.results import DatasetRecord, Run


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Figure(_Record):
    """One number of a table.

    Attributes:
        row, column: its place in the table.
        measure: ``ACC``, ``ASR``, ``l2``, …
        ours: our figure: a share in [0, 1], a number, or words such as ``100+``.
        low, high: the 95 % interval of a share.
        paper: the paper's figure in the same form; for a share also words such as ``< 20`` or
            ``≈ 40`` percent. None if the paper has no figure.
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
        """Make the figure of a share, with its interval."""
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
        """Whether the figure is a share, which tables show in percent."""
        return self.low is not None

    @property
    def differs(self) -> bool:
        """Whether the two shares differ by more than the number of photographs can explain.

        They differ if our interval and that of the paper's 100 photographs do not overlap. The
        paper's words, such as ``< 20`` percent, are a bound.
        """
        if self.low is None or self.high is None or self.paper is None:
            return False
        low, high = _interval(self.paper)
        return self.high < low or high < self.low


def _interval(paper: float | str) -> tuple[float, float]:
    """Return the interval of the paper's share."""
    if isinstance(paper, float):
        return wilson(paper * PHOTOGRAPHS, PHOTOGRAPHS)
    sign, _, percent = paper.partition(" ")
    share = float(percent) / 100
    bounds = {"<": (0.0, share), ">": (share, 1.0)}
    return bounds.get(sign) or wilson(share * PHOTOGRAPHS, PHOTOGRAPHS)


class Reproduction(_Record):
    """The reproduction of one table or figure of the paper.

    Attributes:
        item: its name, such as ``table7``.
        title: its heading.
        scale: the name of the scale, and its numbers.
        model, model_sha256: the attacked model.
        dataset: the photographs.
        created: the end of the work, ISO 8601 in UTC.
        last_call_seconds: duration of the last call, which reuses the work of earlier calls.
        versions: of Python and of the packages that matter.
        notes: the differences from the paper's method.
        figures: the numbers.
        runs: the runs that the figures come from, if there were attacks.
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
        """Write ``ITEM.json`` atomically into a folder, and return its path."""
        path = folder / f"{self.item}.json"
        write(path, (self.model_dump_json() + "\n").encode())
        return path
