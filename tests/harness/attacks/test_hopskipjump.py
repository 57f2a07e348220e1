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


class Doubtful:
    """A victim with a plane as its boundary, whose answer is the other class in 3 of 10 draws."""

    def __init__(self):
        self.random, self.posted = np.random.default_rng(0), 0

    @staticmethod
    def is_wrong(image):
        return image[:, :4].mean() - image[:, 4:].mean() > 0.03

    def classes(self, images):
        self.posted += len(images)
        wrong = np.array([self.is_wrong(image / 255) for image in images])
        return (wrong ^ (self.random.random(len(images)) < 0.3)).astype(np.intp)


def test_averaged_answers_find_a_boundary_that_single_ones_do_not():
    """The nearest wrong image is at 0.015, half of the budget."""
    grey = np.full((8, 8, 3), 128 / 255, np.float32)
    cases = [Case(f"{number}.png", grey, 0, None) for number in range(5)]
    found = {}
    for draws in (1, 25):
        victim = Doubtful()
        text = f"hopskipjump(rounds=6,directions=60,draws={draws},epsilon=0.03)"
        states = run(parse_attack(text), cases, Attacker(None, victim))
        assert sum(state.queries for state in states) == victim.posted
        found[draws] = sum(victim.is_wrong(state.adversarial) for state in states)
    # Even the most frequent of 25 answers is wrong in one of 60 points.
    assert found[25] >= 4
    assert found[1] == 0
