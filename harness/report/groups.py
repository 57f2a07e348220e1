"""Groups of runs that may be compared: those on the same model and the same photographs."""

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, TypeAlias

from harness.errors import RunError
from harness.plain import plain as plain
from harness.rates import Rates, rates, scored_rounds
from harness.report.attackers import gradients_of
from harness.results import Check, Run

CheckState: TypeAlias = Literal["passed", "failed", "unchecked"]
MARKS: dict[CheckState, str] = {"passed": "✓", "failed": "!", "unchecked": "?"}

_SHOWN = 40  # the most characters of a parameter's value that a report shows


@dataclass(frozen=True)
class Entry:
    """A run in a report.

    Attributes:
        run: the run.
        number: its position in the report's list of runs, from 1.
        attack: its name, with the parameters that distinguish it from runs of the same attack.
    """

    run: Run
    number: int
    attack: str

    @property
    def defense(self) -> str:
        """The defence of the endpoint, and whether the user only assumes it."""
        endpoint = self.run.endpoint
        assumed = " (assumed)" if getattr(endpoint, "defense_assumed", False) else ""
        return plain(endpoint.defense) + assumed

    @property
    def label(self) -> str:
        """The run's name in a legend."""
        return f"{self.defense} · {self.attack}"

    @cached_property
    def by_round(self) -> dict[int, Rates]:
        """The rates of every scored round, from the clean images to the final iterates."""
        return {round_: rates(self.run, round_) for round_ in scored_rounds(self.run)}

    @property
    def clean(self) -> Rates:
        """The rates of the clean images."""
        return self.by_round[0]

    @property
    def final(self) -> Rates:
        """The rates of the final iterates."""
        return self.by_round[self.last_round]

    @property
    def last_round(self) -> int:
        """The number of the last scored round."""
        return max(self.by_round)

    @property
    def failed(self) -> tuple[Check, ...]:
        """The failed checks."""
        return tuple(check for check in self.run.checks if check.passed is False)

    @property
    def state(self) -> CheckState:
        """Whether the run can be believed; a run without any applied check is ``unchecked``."""
        if not self.run.believable:
            return "failed"
        return "passed" if any(check.passed for check in self.run.checks) else "unchecked"


@dataclass(frozen=True)
class Group:
    """Runs that may be compared.

    Attributes:
        title: the model, the dataset and the number of images.
        entries: the runs, sorted so that those on the same defence are next to each other.
    """

    title: str
    entries: tuple[Entry, ...]

    @property
    def draws(self) -> int | None:
        """How often each scored iterate was posted, or None if the runs differ."""
        draws = {entry.run.scoring_draws for entry in self.entries}
        return draws.pop() if len(draws) == 1 else None


def grouped(runs: Sequence[Run]) -> list[Group]:
    """Sort runs into groups, and keep their order.

    Raises:
        RunError: there are no runs, a run appears twice or lacks something that a report needs.
    """
    if not runs:
        raise RunError("A report needs at least one run.")
    members: dict[str, list[tuple[int, Run]]] = {}
    for number, run in enumerate(runs, 1):
        _check(run)
        if (first := runs.index(run) + 1) != number:
            raise RunError(f"Run {number}, {run.name!r}, is the same as run {first}.")
        members.setdefault(_identity(run), []).append((number, run))
    titles = {key: _title([run for _, run in some]) for key, some in members.items()}
    repeated = Counter(titles.values())
    return [
        Group(
            titles[key] + (f" · set {key[:8]}" if repeated[titles[key]] > 1 else ""),
            _entries(some),
        )
        for key, some in members.items()
    ]


def value(raw: Any) -> str:
    """Format a parameter's value, shortened if it is long."""
    text = f"{raw:.4g}" if isinstance(raw, float) else plain(str(raw))
    return text if len(text) <= _SHOWN else text[: _SHOWN - 1] + "…"


def _title(runs: Sequence[Run]) -> str:
    first, *_ = runs
    images = f"{len(first.images)} image" + ("s" if len(first.images) > 1 else "")
    datasets = ", ".join(dict.fromkeys(plain(run.dataset.name) for run in runs))
    return f"{plain(first.endpoint.model)} · {datasets} · {images}"


def _identity(run: Run) -> str:
    """Return a digest of the model and of the photographs with their true classes.

    Neither the targets nor the name of the dataset are in it, so that targeted and untargeted runs
    on the same photographs share a table.
    """
    images = sorted((image.file, image.sha256, image.label) for image in run.images)
    what = [run.endpoint.model, run.endpoint.model_sha256, images]
    return hashlib.sha256(json.dumps(what).encode()).hexdigest()


def _check(run: Run) -> None:
    def wrong(what: str) -> RunError:
        return RunError(f"Run {run.name!r} cannot be reported: {what}.")

    if not run.images:
        raise wrong("it has no images")
    if len({image.file for image in run.images}) < len(run.images):
        raise wrong("it has an image twice")
    for image in run.images:
        if 0 not in {score.round for score in image.scores}:
            raise wrong(f"the clean image of {image.file} was not scored")
        if any(len(score.classes) != run.scoring_draws for score in image.scores):
            raise wrong(f"not every score of {image.file} has its {run.scoring_draws} draws")
        if run.attack.targeted == (image.target is None):
            raise wrong(f"{image.file} has {'no' if run.attack.targeted else 'a'} target")
    if run.scoring_draws < 1:
        raise wrong("it was scored without a draw")


def _entries(members: Sequence[tuple[int, Run]]) -> tuple[Entry, ...]:
    runs = [run for _, run in members]
    entries = [Entry(run, number, _attack_label(run, runs)) for number, run in members]
    labels = Counter(entry.label for entry in entries)
    entries = [
        entry
        if labels[entry.label] == 1
        else Entry(entry.run, entry.number, f"{entry.attack}, run {entry.number}")
        for entry in entries
    ]
    defenses = list(dict.fromkeys(entry.defense for entry in entries))
    return tuple(sorted(entries, key=lambda entry: defenses.index(entry.defense)))


def _attack_label(run: Run, beside: Sequence[Run]) -> str:
    same = [_parameters(each) for each in beside if each.attack.name == run.attack.name]
    own, other = _parameters(run), gradients_of(run)
    differing = sorted(key for key in own if any(each.get(key) != own[key] for each in same))
    return ", ".join(
        [
            plain(run.attack.name),
            *([] if run.attack.targeted else ["untargeted"]),
            *(f"{plain(key)}={value(own[key])}" for key in differing),
            *([] if other is None else [f"gradients of {plain(other)}"]),
        ]
    )


def _parameters(run: Run) -> dict[str, Any]:
    attack = run.attack
    shown = {"norm": attack.norm, "epsilon": attack.epsilon} | attack.parameters
    return {key: each for key, each in shown.items() if key != "targeted"}
