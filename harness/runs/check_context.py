"""What the checks need to attack some of a run's photographs again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from defenses import Pipeline
from harness.attacks.attack import Attack, Attacker, run
from harness.attacks.gradient import GradientAttack
from harness.attacks.pgd import Pgd
from harness.rates import success_share
from harness.results import ImageResult
from harness.runs.endpoint_check import Copy
from harness.runs.options import Options
from harness.runs.plan import attack_record
from harness.runs.storage import Storage
from harness.surrogate.fixed_draw import with_fixed_draw
from harness.types import Case


@dataclass(frozen=True)
class CheckContext:
    """What the checks need to attack some of the run's photographs again."""

    attack: Attack
    cases: Sequence[Case]
    attacker: Attacker
    options: Options
    storage: Storage
    copy: Copy | None = None

    @property
    def checked_cases(self) -> Sequence[Case]:
        """The photographs that the checks attack again."""
        return self.cases[: self.options.sanity_images]

    def successes(
        self, attack: Attack, attacker: Attacker, cases: Sequence[Case], draws: int
    ) -> list[float]:
        """Attack, and return for each photograph the fraction of draws with a success."""
        states = run(attack, cases, attacker)
        posted = [
            attack.budget.post(case.image, state.adversarial, quantized=self.options.quantized)
            for case, state in zip(cases, states, strict=True)
        ]
        answers = attacker.victim.classes([image for image in posted for _ in range(draws)])
        return [
            float(np.mean(row != case.label if case.target is None else row == case.target))
            for case, row in zip(cases, answers.reshape(len(cases), draws), strict=True)
        ]

    def unchanged(self, results: Sequence[ImageResult]) -> list[float]:
        """Return the successes of the run's attack as it is."""
        if self.attack.on_bare_model:
            return self.changed("bare", self.attack)
        return [success_share(each, each.scores[-1]) for each in results[: len(self.checked_cases)]]

    def changed(self, name: str, attack: Attack, fixed: bool = False) -> list[float]:
        """Return the successes of a changed attack, stored under a name, or on a fixed draw."""
        attacker, draws, on = self.attacker, self.options.scoring_draws, "endpoint"
        if attacker.surrogate is not None and (fixed or attack.on_bare_model):
            known = attacker.surrogate.defense
            defense = Pipeline() if attack.on_bare_model else with_fixed_draw(known)
            surrogate = attacker.surrogate.with_defense(defense)
            attacker, draws = replace(attacker, surrogate=surrogate, victim=surrogate), 1
            on = str(defense)
            if isinstance(attack, GradientAttack | Pgd):
                attack = replace(attack, draws=1)
        return self.cached(name, attack, attacker, self.checked_cases, draws, on)

    def cached(
        self,
        name: str,
        attack: Attack,
        attacker: Attacker,
        cases: Sequence[Case],
        draws: int,
        on: str = "endpoint",
    ) -> list[float]:
        """Return the stored successes of an attack, or attack; see :meth:`successes`."""
        of = {
            "attack": attack_record(attack).model_dump(mode="json"),
            "on": on,
            "draws": draws,
            "photographs": [case.file for case in cases],
        }
        return self.storage.cached(name, of, lambda: self.successes(attack, attacker, cases, draws))
