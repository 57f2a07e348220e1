"""The paper's FD resists BPDA because it moves images by two pixels (docs/reproduction.md)."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from defenses import Pipeline
from defenses.feature_distillation import FeatureDistillation
from harness.attacks import parse_attack
from harness.attacks.attack import Attacker
from harness.dataset import Dataset
from harness.reproduce.changes import moved
from harness.surrogate.surrogate import Surrogate
from models import Store, ensure

pytestmark = pytest.mark.slow
ATTACK = parse_attack("bpda(rounds=20,rule=raw,step=0.1)")


@dataclass(frozen=True)
class Moved(FeatureDistillation):
    """FD as in the published code."""

    name: ClassVar[str] = "moved"

    def _apply(self, image, params):
        return np.ascontiguousarray(moved(super()._apply(image, params)))


@pytest.fixture(scope="module")
def bare():
    return Surrogate(*ensure(Store(), "efficientnet-lite2"), Pipeline(), "cpu")


def successes(bare, operation):
    """On how many of three photographs the paper's loop reaches its target."""
    surrogate = bare.with_defense(Pipeline([operation]))
    attacker = Attacker(surrogate, surrogate)
    waiting = Dataset.demo().cases(bare.manifest, bare.classes, 3)
    states = [ATTACK.begin(case, attacker) for case in waiting]
    for _ in range(ATTACK.rounds):
        states = ATTACK.advance(waiting, states, attacker)
        answers = surrogate.classes([state.adversarial for state in states])
        left = [i for i, case in enumerate(waiting) if answers[i] != case.target]
        waiting, states = [waiting[i] for i in left], [states[i] for i in left]
        if not waiting:
            break
    return 3 - len(waiting)


def test_fd_falls_to_bpda_unless_it_moves_the_image_by_two_pixels(bare):
    assert successes(bare, FeatureDistillation()) >= 2
    assert successes(bare, Moved()) == 0
