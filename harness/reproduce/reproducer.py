"""The runs of a reproduction: each attack on each defence runs once, and is kept."""

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
    """The photographs, the model and the endpoint of a table, and the folder of its runs.

    The folder of a run is named after its attack and its defence. Tables thus share the runs that
    they have in common, and the same command resumes after an interruption.

    Attributes:
        url: the address of an endpoint that allows every defence of the table.
        experiment: the model and the photographs; see :meth:`Experiment.with_endpoint`.
        scale: how much work to do.
        folder: the folder of the runs.
        on_progress: returns the progress bar of a run, given the run's name.
        runs: the runs so far, in order.
    """

    url: str
    experiment: Experiment
    scale: Scale
    folder: Path
    on_progress: Callable[[str], OnProgress]
    runs: list[Run] = field(default_factory=list)

    def run(self, attack: str, defense: str) -> Run:
        """Run one attack on one defence, with the photographs of the experiment.

        An attack on the bare model runs once, and every defence gets the same adversarial images.
        Images are posted as FP32, as in the paper.

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
        """The photographs, each with a target."""
        return self.experiment.cases(targeted=True)

    def _ensure(self, attack: str) -> None:
        """Run an attack on the bare model unless it has run; it is not a run of this table."""
        if not (self._folder(attack, BARE) / "run.json").exists():
            self.run(attack, BARE)
            self.runs.pop()

    def _folder(self, attack: str, defense: str) -> Path:
        return self.folder / _slug(attack) / _slug(defense)


def _slug(specification: str) -> str:
    """Return a folder's name for a specification."""
    return re.sub(r"[^\w.+=-]+", "_", specification).strip("_")
