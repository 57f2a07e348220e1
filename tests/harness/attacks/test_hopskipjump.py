"""HopSkipJump: what it posts, where it starts, and that it ends on random answers."""

import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.types import Case


@pytest.mark.parametrize(
    "spec",
    [
        "hopskipjump(rounds=2,directions=50)",
        "hopskipjump(rounds=2,directions=20,draws=3,targeted=true)",
    ],
)
@pytest.mark.parametrize("defense", ["none", "rdg"])
def test_every_posted_image_is_counted(spec, defense, surrogate, make_cases, counting):
    attack, victim = parse_attack(spec), counting(surrogate(defense))
    states = run(attack, make_cases(3, targeted=attack.targeted), Attacker(None, victim))
    assert sum(state.queries for state in states) == len(victim.posted)
    assert all(image.dtype == np.uint8 for image in victim.posted)


def test_a_search_without_a_start_stays_at_the_photograph(make_cases):
    (case,) = make_cases(1)
    unreachable = Case(case.file, case.image, 0, 2)

    class Never:
        def classes(self, images):
            return np.zeros(len(images), np.intp)

    attack = parse_attack("hopskipjump(targeted=true,rounds=3)")
    (state,) = run(attack, [unreachable], Attacker(None, Never()))
    assert np.array_equal(state.adversarial, case.image)
    assert state.queries == 100


def test_a_targeted_search_starts_at_a_photograph_of_the_target(surrogate, make_cases):
    one, other = make_cases(2)
    swapped = Case("other.png", other.image[..., [1, 0, 2]].copy(), 1, 0)
    attack = parse_attack("hopskipjump(targeted=true,rounds=1)")
    states = run(attack, [one, swapped], Attacker(None, surrogate()))
    assert states[0].memory["start"] == pytest.approx(swapped.image, abs=1e-6)
    assert states[1].memory["start"] == pytest.approx(one.image, abs=1e-6)


def test_a_search_ends_even_if_every_answer_is_random():
    class Coin:
        random = np.random.default_rng(0)

        def classes(self, images):
            return self.random.integers(0, 2, len(images))

    case = Case("x.png", np.full((8, 8, 3), 0.5, np.float32), 0, None)
    attack = parse_attack("hopskipjump(rounds=5,directions=10)")
    (state,) = run(attack, [case], Attacker(None, Coin()))
    assert state.round == 5
    assert attack.budget.holds(case.image, state.adversarial)
