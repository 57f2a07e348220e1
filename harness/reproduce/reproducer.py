"""Where the runs of a reproduction are done: each attack on each defence once, and kept."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from harness.attacks import parse_attack
from harness.endpoint import HttpTarget
from harness.reproduce.scale import Scale
from harness.results import Run
from harness.runs.experiment import Experiment
from harness.runs.options import Options
from harness.runs.run import execute
from harness.types import Case, OnProgress

BARE = "none"
"""The defence of the undefended model."""


@dataclass(frozen=True)
class Reproducer:
    """Photographs, a model and its endpoint, and a folder for runs.

    A run is kept under its attack and its defence, so that tables share what they have in common,
    and the same command goes on where it was interrupted.

    Attributes:
        url: of an endpoint that allows every defence that is asked for.
        experiment: the model and the photographs; see :meth:`Experiment.behind`.
        scale: how much is done.
        folder: of the runs.
        on_progress: gives a bar for a run, by its name.
        runs: what was run so far, in order.
    """

    url: str
    experiment: Experiment
    scale: Scale
    folder: Path
    on_progress: Callable[[str], OnProgress]
    runs: list[Run] = field(default_factory=list)

    def run(self, attack: str, defense: str) -> Run:
        """One attack on one defence, on the photographs that the experiment has.

        An attack on the bare model is made on the bare model, once, and then posted to each
        defence. Images are posted as FP32, as the paper does.

        Raises:
            HarnessError: see :mod:`harness.errors`.
        """
        parsed = parse_attack(attack)
        reuse_from = None
        if parsed.on_bare_model and defense != BARE:
            self._ensure(attack)
            reuse_from = self._folder(attack, BARE)
        options = Options(
            scoring_draws=1 if defense == BARE else self.scale.scoring_draws,
            quantized=False,
            sanity_images=0,
        )
        folder = self._folder(attack, defense)
        with HttpTarget(self.url, defense=defense) as target:
            setup = self.experiment.with_endpoint(target).setup(parsed, folder, options, reuse_from)
            run = execute(setup, self.on_progress(f"{attack} on {defense}"))
        self.runs.append(run)
        return run

    @property
    def cases(self) -> list[Case]:
        """The photographs, each with its target."""
        return self.experiment.cases(targeted=True)

    def _ensure(self, attack: str) -> None:
        """See that it was made on the bare model, without counting that as a run of the table."""
        if not (self._folder(attack, BARE) / "run.json").exists():
            self.run(attack, BARE)
            self.runs.pop()

    def _folder(self, attack: str, defense: str) -> Path:
        return self.folder / _slug(attack) / _slug(defense)


def _slug(specification: str) -> str:
    """A folder's name."""
    return re.sub(r"[^\w.+=-]+", "_", specification).strip("_")
