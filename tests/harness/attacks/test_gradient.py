"""Gradient attacks: which attack breaks which defence, and known answers on a quadratic."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.attacks.gradient import Adaptive
from harness.surrogate.fixed_draw import with_fixed_draw
from harness.surrogate.surrogate import Gradients, Surrogate
from harness.types import Case


@pytest.mark.parametrize("model", ["colour", "network"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("defense", ["none", "fd", "rdg", "fd+rdg", "rand"])
def test_the_exact_attacker_breaks_every_defence(
    defense, targeted, model, surrogate, make_cases, successes
):
    cases, victim = make_cases(2, targeted=targeted, model=model), surrogate(defense, model)
    attack = parse_attack("adaptive(rounds=20,draws=3,epsilon=0.1)")
    states = run(replace(attack, targeted=targeted), cases, Attacker(victim, victim))
    assert min(successes(victim, cases, states)) >= 0.9


@pytest.mark.parametrize("spec", ["bpda(rounds=20)", "semi-brute-force(rounds=20,draws=2)"])
@pytest.mark.parametrize("defense", ["fd", "rdg", "fd+rdg"])
def test_the_papers_attacks_break_a_model_that_does_not_see_the_warp(
    spec, defense, surrogate, make_cases, successes
):
    cases, victim = make_cases(2), surrogate(defense)
    states = run(parse_attack(f"{spec[:-1]},epsilon=0.1)"), cases, Attacker(victim, victim))
    assert min(successes(victim, cases, states)) >= 0.9


def test_the_exact_attacker_breaks_one_fixed_draw(surrogate, make_cases, successes):
    fixed = surrogate(model="network").with_defense(with_fixed_draw(surrogate("fd+rdg").defense))
    cases = make_cases(2, model="network")
    attack = parse_attack("adaptive(rounds=30,draws=1,epsilon=0.1)")
    assert successes(fixed, cases, run(attack, cases, Attacker(fixed, fixed)), draws=1) == [
        1.0,
        1.0,
    ]


@pytest.mark.parametrize(
    ("spec", "defense", "each"),
    [
        ("bpda", "rdg", 1),
        ("bpda-eot", "rdg", 30),
        ("bpda-eot", "fd", 1),
        ("adaptive", "fd+rdg", 10),
        ("adaptive", "none", 1),
        ("semi-brute-force", "fd", 1),
        ("semi-brute-force", "rdg", 30),
    ],
)
def test_gradients_are_counted(spec, defense, each, surrogate, make_cases):
    cases, victim = make_cases(2), surrogate(defense)
    states = run(parse_attack(f"{spec}(rounds=2)"), cases, Attacker(victim, victim))
    assert [state.gradients for state in states] == [2 * each, 2 * each]


class Quadratic(Surrogate):
    """The loss ½ (x - ¼)² in place of a model."""

    def __init__(self):
        pass

    def gradients(self, images, *_, **__):
        values = np.stack(images) - np.float32(0.25)
        return Gradients(values, np.square(values).sum(axis=(1, 2, 3)) / 2)

    def is_random(self, _):
        return False


CASE = Case("x.png", np.full((4, 4, 3), 0.75, np.float32), 0, 1)
ATTACKER = Attacker(Quadratic(), None)


def descended(**options):
    attack = Adaptive(**{"rule": "raw", "step": 0.1, "epsilon": 1.0, "rounds": 6, **options})
    return run(attack, [CASE], ATTACKER)[0]


@pytest.mark.parametrize("momenta", [(0.0,), (0.9,), (0.0, 0.9, 0.99)])
def test_velocities_are_those_of_their_papers(momenta):
    x, velocities = 0.75, np.zeros(len(momenta))
    for _ in range(6):
        velocities = np.array(momenta) * velocities + (x - 0.25)
        x -= 0.1 * velocities.mean()
    assert descended(momenta=momenta).adversarial == pytest.approx(x, abs=1e-5)


def test_a_step_is_as_long_as_it_says():
    first = descended(rule="l2", step=0.03, rounds=1).adversarial - CASE.image
    assert first == pytest.approx(-0.03, abs=1e-6)
    signed = descended(rule="sign", step=0.02, rounds=3).adversarial - CASE.image
    assert signed == pytest.approx(-0.06, abs=1e-6)


def test_the_best_of_all_restarts_is_kept():
    options = {"random_start": True, "step": 0.01, "epsilon": 0.3, "rule": "l2"}
    ends = []
    attack = Adaptive(**options, rounds=8, restarts=4)
    state = attack.begin(CASE, ATTACKER)
    for round_ in range(8):
        (moved,) = attack.advance([CASE], [state], ATTACKER)
        if (round_ + 1) % 2 == 0:
            ends.append(float(moved.memory["best_loss"]))
        state = moved
    assert ends == sorted(ends, reverse=True)
    assert len(set(ends)) > 1
    loss = float(np.square(state.adversarial - 0.25).sum() / 2)
    assert loss == pytest.approx(min(ends), rel=1e-4)


class Broken(Quadratic):
    def __init__(self, value):
        self.value = value

    def gradients(self, images, *_, **__):
        shape = (len(images), *images[0].shape)
        return Gradients(np.full(shape, self.value, np.float32), np.zeros(len(images)))


@pytest.mark.parametrize(
    ("value", "zero", "nonfinite"), [(0, 3, 0), (np.nan, 0, 3), (np.inf, 0, 3)]
)
def test_a_zero_or_non_finite_gradient_is_counted(value, zero, nonfinite):
    (state,) = run(Adaptive(rounds=3), [CASE], Attacker(Broken(value), None))
    assert (state.zero_gradients, state.nonfinite_gradients) == (zero, nonfinite)
    assert np.array_equal(state.adversarial, CASE.image)


@pytest.mark.parametrize("defense", ["rdg", "rand"])
def test_exact_gradients_are_the_derivative(defense, surrogate, make_cases):
    fixed = surrogate().with_defense(with_fixed_draw(surrogate(defense).defense))
    (case,) = make_cases(1)
    generator = np.random.default_rng(2)

    def evaluated(image):
        return fixed.gradients([image], [case.goal], [Random(0)])

    gradient = evaluated(case.image).values[0]
    for _ in range(5):
        direction = generator.normal(0, 1, case.image.shape).astype(np.float32)
        direction = (direction > 0.5).astype(np.float32) * 0.05
        after, before = (evaluated(case.image + s * direction).losses[0] for s in (1, -1))
        assert (after - before) / 2 == pytest.approx(float((gradient * direction).sum()), rel=2e-3)
