"""The attacks that query the server, each photograph by a client of its own."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from harness.attacks import parse_attack, run
from harness.signals.traffic import SEARCHED, Scene, Sent, Traffic
from harness.types import Case, Victim

Way: TypeAlias = Callable[[Scene, Case], Victim]
"""How the posts of an attack reach the server; an attack does not notice it."""


def directly(scene: Scene, case: Case) -> Victim:
    """Post with one key, and nothing else."""
    return scene.client(case)


@dataclass(frozen=True, kw_only=True)
class Search(Traffic):
    """An attack on a few photographs, one after the other.

    Attributes:
        way: how its posts reach the server.
        photographs: how many are searched at most, each by a client of its own.
        cost: how many images are posted for each of the attack's own.
    """

    way: Way = directly
    photographs: int = SEARCHED
    cost: int = 1

    def posts(self, scene: Scene) -> int:
        """See :class:`Traffic`."""
        return scene.posts * self.cost * len(scene.searched[: self.photographs])

    def send(self, scene: Scene) -> Sent:
        """See :class:`Traffic`."""
        attack, wrong = parse_attack(self.specification(scene)), []
        for case in scene.searched[: self.photographs]:
            (state,) = run(attack, [case], scene.attacker(self.way(scene, case)))
            found = attack.budget.post(case.image, state.adversarial, quantized=True)
            wrong.append(scene.wrong(case, found))
        return Sent(wrong=float(np.mean(wrong)))
