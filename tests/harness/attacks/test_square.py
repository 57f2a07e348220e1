"""Square: what it posts, that it does not keep a lucky draw, and the squares that it tries."""

import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.attacks.square_proposals import candidate, square_fraction, start
from harness.budget import Budget
from harness.types import Case


@pytest.mark.parametrize(
    "spec",
    [
        "square(queries=200,draws=1)",
        "square(queries=700)",
        "square(queries=400,draws=2,rounds=4)",
    ],
)
@pytest.mark.parametrize("defense", ["none", "rdg"])
def test_every_posted_image_is_counted(spec, defense, surrogate, make_cases, counting):
    attack, victim = parse_attack(spec), counting(surrogate(defense))
    states = run(attack, make_cases(3, targeted=attack.targeted), Attacker(None, victim))
    assert sum(state.queries for state in states) == len(victim.posted)
    assert all(image.dtype == np.uint8 for image in victim.posted)
    most = attack.queries
    draws = 1 if defense == "none" else attack.draws
    assert all(most - 3 * draws < state.queries <= most for state in states)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_without_rounding_float_images_inside_the_budget_are_posted(
    norm, surrogate, make_cases, counting
):
    attack = parse_attack(f"square(queries=100,draws=1,quantized=false,norm={norm},rounds=2)")
    (case,), victim = make_cases(1), counting(surrogate())
    run(attack, [case], Attacker(None, victim))
    assert all(image.dtype == np.float32 for image in victim.posted)
    assert all(attack.budget.holds(case.image, image) for image in victim.posted)


def test_photographs_are_posted_together(surrogate, make_cases, counting):
    alone, together = counting(surrogate()), counting(surrogate())
    attack = parse_attack("square(queries=100,draws=1)")
    run(attack, make_cases(1), Attacker(None, alone))
    run(attack, make_cases(4), Attacker(None, together))
    assert together.calls == alone.calls
    assert len(together.posted) == 4 * len(alone.posted)


class Luck:
    """A victim whose scores do not depend on the image, and are very good now and then."""

    def __init__(self, chance, seed=0):
        self.chance, self.random = chance, np.random.default_rng(seed)

    def probabilities(self, images, draws=1):
        lucky = self.random.random((len(images), draws)) < self.chance
        right = (0.9 - 0.8 * lucky + self.random.uniform(0, 0.01, lucky.shape)).mean(axis=1)
        return np.stack([right, 1 - right], axis=1).astype(np.float32)


def test_a_lucky_draw_is_not_kept():
    case = Case("x.png", np.full((16, 16, 3), 0.5, np.float32), 0, None)
    attack = parse_attack("square(queries=600,rounds=100,draws=1,targeted=false)")
    attacker = Attacker(None, Luck(0.05))
    state, incumbents, means = attack.begin(case, attacker), 0, []
    for _ in range(attack.rounds):
        (after,) = attack.advance([case], [state], attacker)
        incumbents += not np.array_equal(after.adversarial, state.adversarial)
        state = after
        total, posts, random, *_ = state.memory["scores"]
        assert random
        if posts >= 4:
            means.append(total / posts)
    # If a lucky score were kept, all later scores would be compared with it.
    assert means
    assert np.median(means) > 0


def test_an_image_is_posted_once_to_an_endpoint_with_a_fixed_defence(
    surrogate, make_cases, counting
):
    (case,), victim = make_cases(1), counting(surrogate())
    (state,) = run(parse_attack("square(queries=600)"), [case], Attacker(None, victim))
    assert not state.memory["scores"][2]
    posted = {image.tobytes() for image in victim.posted}
    assert len(posted) > 0.95 * len(victim.posted)


@pytest.mark.parametrize("defense", ["none", "fd", "rdg", "rand", "fd+rdg"])
def test_a_random_defence_is_recognised_even_if_two_draws_agree(defense, surrogate, make_cases):
    """On these photographs, one pair of draws in ten agrees to 1e-3."""
    (case,), victim = make_cases(1), surrogate(defense)
    attack = parse_attack("square(queries=600)")
    cases = [Case(f"{number}.png", case.image, case.label, case.target) for number in range(100)]
    attacker = Attacker(None, victim)
    states = attack.advance(cases, [attack.begin(each, attacker) for each in cases], attacker)
    assert {bool(state.memory["scores"][2]) for state in states} == {"r" in defense}


@pytest.mark.parametrize("draws", [1, 10])
@pytest.mark.parametrize("defense", ["rdg", "rand", "fd+rdg"])
def test_square_breaks_random_defences_of_a_model_near_its_boundary(
    defense, draws, surrogate, make_cases, successes
):
    cases, victim = make_cases(2), surrogate(defense)
    attack = parse_attack(f"square(queries=900,draws={draws},epsilon=0.08)")
    states = run(attack, cases, Attacker(None, victim))
    assert min(successes(victim, cases, states)) >= 0.9


def test_the_schedule_of_the_squares():
    halvings = [
        (0, 0), (0.001, 0), (0.002, 1), (0.006, 2), (0.03, 3), (0.06, 4), (0.15, 5),
        (0.3, 6), (0.5, 7), (0.7, 8), (0.9, 9),
    ]  # fmt: skip
    fractions = [square_fraction(0.8, progress) for progress, _ in halvings]
    assert fractions == [0.8 / 2**n for _, n in halvings]


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("shape", [(8, 8), (9, 31), (32, 32)])
@pytest.mark.parametrize("fraction", [0.001, 0.1, 1.0])
def test_candidates_fill_the_budget(norm, shape, fraction):
    generator = np.random.default_rng(0)
    clean, budget = np.full((*shape, 3), 0.5, np.float32), Budget(norm, 0.05)
    image = start(clean, budget, generator)
    for _ in range(20):
        # The top of a hump may be clipped at 0 or 1.
        assert budget.size(image - clean) == pytest.approx(0.05, rel=0.05)
        following = candidate(clean, image, budget, fraction, generator)
        changed = np.any(following != image, axis=2)
        assert changed.any()
        if norm == "linf":
            side = max(round(np.sqrt(fraction * clean[..., 0].size)), 1)
            assert max(np.ptp(places) for places in np.nonzero(changed)) < side
            assert np.abs(following - clean) == pytest.approx(0.05, abs=1e-6)
        image = following
