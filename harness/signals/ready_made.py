"""Attackers with gradients: they make images with a copy of the model, and post them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from defenses import Pipeline
from harness.attacks import parse_attack
from harness.attacks.attack import Attack
from harness.runs.steps import counted_steps
from harness.signals.traffic import Scene, Sent, Traffic
from harness.types import Case, Posted, State

_TIMES = 3
"""How often each image is posted."""


@dataclass(frozen=True, kw_only=True)
class ReadyMade(Traffic):
    """One client posts the images of all attacked photographs, three times each."""

    needs_gradients: ClassVar[bool] = True

    def posts(self, scene: Scene) -> int:
        """See :class:`Traffic`."""
        return _TIMES * len(scene.cases)

    def send(self, scene: Scene) -> Sent:
        """See :class:`Traffic`."""
        attack = parse_attack(self.specification(scene))
        images = [
            _posted(attack, *pair) for pair in zip(scene.cases, _made(attack, scene), strict=True)
        ]
        client = scene.open()
        for _ in range(_TIMES):
            for case, image in zip(scene.cases, images, strict=True):
                client.label = case.label
                client.post(image)
        bare = scene.copy.with_defense(Pipeline()).classes(images)
        goals = [case.goal for case in scene.cases]
        return Sent(reached_bare=float(np.mean(bare == goals)))


@dataclass(frozen=True, kw_only=True)
class Iterates(Traffic):
    """A client posts the image of each round, to find out when it succeeds."""

    needs_gradients: ClassVar[bool] = True

    def posts(self, scene: Scene) -> int:
        """See :class:`Traffic`."""
        return parse_attack(self.specification(scene)).rounds * len(scene.searched)

    def send(self, scene: Scene) -> Sent:
        """See :class:`Traffic`."""
        attack, wrong = parse_attack(self.specification(scene)), []
        for case in scene.cases[: len(scene.searched)]:
            client = scene.client(case)
            attacker = scene.attacker(client)
            state = attack.begin(case, attacker)
            for _ in range(attack.rounds):
                (state,) = attack.advance([case], [state], attacker)
                client.post(_posted(attack, case, state))
            wrong.append(scene.wrong(case, _posted(attack, case, state)))
        return Sent(wrong=float(np.mean(wrong)))


def _made(attack: Attack, scene: Scene) -> Sequence[State]:
    """Do all rounds of an attack, and report its progress."""
    attacker = scene.attacker(scene.copy)
    states = [attack.begin(case, attacker) for case in scene.cases]
    if attack.on_bare_model:
        module = attacker.surrogate_for(attack).module
        with counted_steps(module, attack, len(states), scene.on_progress):
            return attack.advance(scene.cases, states, attacker)
    for round_ in range(attack.rounds):
        states = attack.advance(scene.cases, states, attacker)
        scene.on_progress("rounds", round_ + 1, attack.rounds)
    return states


def _posted(attack: Attack, case: Case, state: State) -> Posted:
    return attack.budget.post(case.image, state.adversarial, quantized=True)
