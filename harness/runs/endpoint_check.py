"""The check ``endpoint``: clean photographs get the answers that the served model gives here.

Without it, an endpoint that has another model, another defence or other pixels than it reports
would be measured, and the figures would be those of something else.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from defenses import Pipeline
from harness.budget import to_8_bits
from harness.errors import HiddenProbabilitiesError
from harness.results import Check, ImageResult
from harness.types import Case, Posted, Victim

NAME = "endpoint"
PHOTOGRAPHS = 5
DRAWS = 8
MORE_DRAWS = 32
"""How many draws decide if fewer seem to differ, because a run whose check is not met is void."""
TOLERANCE = 1e-3
"""How far a probability may be from ours: the rounding of another processor or execution provider
is smaller."""
_DEVIATIONS = 3.29
"""Half of the 99.9 % interval of a normal variable, so that a thousandth of the checks errs."""
_CHOSEN = ("The photographs are those that the endpoint got right when they were posted once.",)
_ASSUMED = (
    "The defence is assumed.",
    "The endpoint reports no digest of its model, so another model would be noticed only if its "
    "name, versions, inputs or outputs differ.",
)


class Copy(Victim, Protocol):
    """The served model on this machine, behind the defence that the endpoint reports."""

    @property
    def defense(self) -> Pipeline:
        """The defence."""
        ...


def endpoint_check(
    victim: Victim,
    copy: Copy | None,
    cases: Sequence[Case],
    results: Sequence[ImageResult],
    *,
    quantized: bool,
) -> Check:
    """Compare the endpoint's answers to clean photographs with those of a copy of its model.

    Args:
        victim: the endpoint.
        copy: the served model on this machine; None if there is none.
        cases: the photographs of the run.
        results: their results, whose first score is that of the clean photograph.
        quantized: whether the run posts 8-bit images.
    """
    if copy is None:
        return Check(name=NAME, passed=None, detail="The served model is not on this machine.")
    posted = [to_8_bits(case.image) if quantized else case.image for case in cases]
    if copy.defense.random:
        return _random(victim, copy, cases[:PHOTOGRAPHS], posted[:PHOTOGRAPHS])
    return _fixed(victim, copy, posted, results)


def with_assumptions(checks: Sequence[Check], *, chosen_by_endpoint: bool) -> list[Check]:
    """Add to the check ``endpoint`` what is not known of an endpoint that has no description.

    Args:
        checks: the checks of a run.
        chosen_by_endpoint: whether the photographs are those that the endpoint got right.
    """
    more = _ASSUMED + (_CHOSEN if chosen_by_endpoint else ())
    return [
        each.model_copy(update={"detail": " ".join((each.detail, *more))})
        if each.name == NAME
        else each
        for each in checks
    ]


def _fixed(
    victim: Victim, copy: Copy, posted: Sequence[Posted], results: Sequence[ImageResult]
) -> Check:
    expected = copy.probabilities(posted)
    # Of two classes that are equally probable here, the endpoint may name either.
    largest = expected.max(axis=1) - TOLERANCE
    wrong = sum(
        any(row[answer] < least for answer in result.scores[0].classes)
        for row, least, result in zip(expected, largest, results, strict=True)
    )
    classes = f"the class of {wrong} of {len(posted)} clean photographs differs (wanted: of 0)"
    measured = {"other_classes": float(wrong)}
    difference = 0.0
    try:
        answers = victim.probabilities(posted[:PHOTOGRAPHS])
        difference = float(np.abs(answers - expected[:PHOTOGRAPHS]).max())
        measured["largest_difference"] = difference
        compared = (
            f"the probabilities of {len(answers)} differ by up to {difference:.2g} (wanted: at "
            f"most {TOLERANCE:g})"
        )
    except HiddenProbabilitiesError:
        compared = "the endpoint hides its probabilities"
    return Check(
        name=NAME,
        passed=not wrong and difference <= TOLERANCE,
        detail=f"Behind {copy.defense}, compared with this machine: {classes}, and {compared}.",
        measured=measured,
    )


def _random(victim: Victim, copy: Copy, cases: Sequence[Case], posted: Sequence[Posted]) -> Check:
    """Compare the mean over draws, because no two draws are the same."""
    for draws in (DRAWS, MORE_DRAWS):
        what, there, here = _answers(victim, copy, cases, posted, draws)
        by_photograph = [values.reshape(len(cases), draws) for values in (there, here)]
        variances = sum(values.var(axis=1, ddof=1).mean() for values in by_photograph)
        margin = _DEVIATIONS * float(np.sqrt(variances / len(there))) + TOLERANCE
        difference = abs(float(there.mean() - here.mean()))
        if difference <= margin:
            break
    return Check(
        name=NAME,
        passed=difference <= margin,
        detail=f"Behind {copy.defense}, the mean {what} on {len(cases)} clean photographs is "
        f"{there.mean():.3f} from the endpoint and {here.mean():.3f} on this machine (wanted: "
        f"they differ by at most {margin:.3f}, the interval of {draws} draws).",
        measured={"there": float(there.mean()), "here": float(here.mean()), "margin": margin},
    )


def _answers(
    victim: Victim, copy: Copy, cases: Sequence[Case], posted: Sequence[Posted], draws: int
) -> tuple[str, NDArray[np.float64], NDArray[np.float64]]:
    """Return what is compared, its values from the endpoint, and its values on this machine."""
    repeated = [image for image in posted for _ in range(draws)]
    labels = np.repeat([case.label for case in cases], draws)
    try:
        there = _of_labels(victim.probabilities(repeated), labels)
        here = _of_labels(copy.probabilities(repeated), labels)
    except HiddenProbabilitiesError:
        there = (victim.classes(repeated) == labels).astype(float)
        here = (copy.classes(repeated) == labels).astype(float)
        return "share of right answers", there, here
    return "probability of the true class", there, here


def _of_labels(probabilities: NDArray[np.float32], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    return probabilities[np.arange(len(labels)), labels].astype(np.float64)
