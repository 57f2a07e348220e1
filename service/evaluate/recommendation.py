"""Which defence to serve, by the accuracies alone: the same answers give the same advice."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass

from service.evaluate.conditions import NONE
from service.evaluate.intervals import Rate
from service.evaluate.report import Report, Row

FEWEST_IMAGES = 100
"""With fewer images the interval of an accuracy is up to 20 points wide."""


@dataclass(frozen=True)
class Recommendation:
    """Advice.

    Attributes:
        row: the defence and its number of draws; None if none can be recommended.
        sentence: the advice and its reason.
        flags: what to serve it with; empty if none can be recommended.
    """

    row: Row | None
    sentence: str
    flags: str = ""

    def document(self) -> dict[str, str | int | None]:
        """Return the advice for programs."""
        return {
            "sentence": self.sentence,
            "defense": None if self.row is None else self.row.name,
            "draws": None if self.row is None else self.row.draws,
            "flags": self.flags,
        }


def recommend(report: Report) -> Recommendation:
    """Return the first defence, in the order of preference, that may keep enough of the accuracy.

    It may if the share that is to be kept is within the interval of what it keeps or below it. So a
    preferred defence is passed over only if the images show that it costs too much, and not by the
    chance of its draws. Of its numbers of draws it is the smallest that may keep enough, since each
    draw costs an inference.

    Only defences with random draws are recommended: the others are the same function in every
    request, so an attacker has to find an image only once.
    """
    if report.images < FEWEST_IMAGES:
        return Recommendation(
            None,
            f"No recommendation: {report.images} images are too few to tell the defences apart. "
            f"Take {FEWEST_IMAGES} or more.",
        )
    candidates = [row for row in report.rows if row.kind == "defense" and row.drawn]
    if not candidates:
        return Recommendation(
            None,
            "No recommendation: none of these defences draws at random. Add one that does, such as "
            "--defense fd+rdg.",
        )
    for row in _by_preference(candidates, report.preference):
        kept = kept_share(row, report)
        if kept.high >= report.keep:
            doubt = (
                f" {100 * report.keep:g} % is within the interval; more images would narrow it."
                if kept.share < report.keep
                else ""
            )
            return Recommendation(
                row,
                f"Recommended: {_named(row)}. It keeps {_percent(kept)} of the accuracy that the "
                f"model has without a defence.{doubt}",
                _flags(report, row),
            )
    best = max(candidates, key=lambda row: row.top1.share)
    return Recommendation(
        None,
        f"No recommendation: none of these defences keeps {100 * report.keep:g} % of the accuracy "
        f"that the model has without a defence. {_named(best)} keeps the most, "
        f"{_percent(kept_share(best, report))}. Try other parameters (warpguard defenses), train "
        "the model on defended images, or accept less with --keep.",
    )


def kept_share(row: Row, report: Report) -> Rate:
    """Return the accuracy of a row relative to that without a defence.

    The interval is that of the difference.
    """
    bare = report.row(NONE).top1.share
    change = row.difference
    return Rate(*((bare + each) / bare for each in (change.share, change.low, change.high)))


def _by_preference(rows: Sequence[Row], preference: Sequence[str]) -> list[Row]:
    return sorted(rows, key=lambda row: (preference.index(row.name), row.draws))


def _named(row: Row) -> str:
    return f"{row.name} with {row.draws} draw{'s' if row.draws > 1 else ''}"


def _percent(share: Rate) -> str:
    return f"{100 * share.share:.0f} % [{100 * share.low:.0f}…{100 * share.high:.0f}]"


def _flags(report: Report, row: Row) -> str:
    draws = f" --draws {row.draws}" if row.draws > 1 else ""
    return f"--model {report.model} --defense {shlex.quote(row.name)}{draws}"
