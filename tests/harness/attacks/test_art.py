"""ART's attacks and L-BFGS: the gradients that they cost, and known properties of their results."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.attacks import Attacker, parse_attack, run
from harness.attacks.art import Fgsm, IFgsm


def spent(states):
    return [state.gradients for state in states]


def attacked(text, cases, victim):
    return run(parse_attack(text), cases, Attacker(victim, victim))


@pytest.mark.parametrize("count", [1, 3, 17])
def test_gradients_are_counted(count, surrogate, make_cases):
    cases = make_cases(count)
    assert spent(attacked("fgsm", cases, surrogate())) == [1] * count
    assert spent(attacked("i-fgsm(iterations=7)", cases, surrogate())) == [7] * count


def test_an_iteration_of_cw_takes_two_gradients(surrogate, make_cases):
    cases = make_cases(3)
    states = attacked("cw(iterations=4,search_steps=2)", cases, surrogate())
    assert spent(states) == [2 * 4 * 2] * 3


def test_deepfool_takes_a_gradient_for_each_class_in_each_step(surrogate, make_cases):
    cases = make_cases(1, targeted=False)
    # A linear model needs one step. ART makes all of them, because it overshoots only at the end.
    for steps in (1, 4):
        (state,) = attacked(f"deepfool(iterations={steps})", cases, surrogate())
        assert state.gradients == 3 * (steps + 1)


def test_deepfool_finds_the_nearest_boundary_of_a_linear_model(surrogate, make_cases):
    (case,) = make_cases(1, targeted=False)
    (state,) = attacked("deepfool(overshoot=0.02)", [case], surrogate())
    means = np.sort(case.image.mean((0, 1)))
    gap = means[-1] - means[-2]
    # Two channels move by half of the gap and the third stays: gap / √6 over all values.
    size = float(np.sqrt(np.mean((state.adversarial - case.image) ** 2)))
    assert size == pytest.approx(1.02 * gap / np.sqrt(6), rel=0.01)


def test_deepfool_does_not_change_a_photograph_that_is_already_wrong(surrogate, make_cases):
    case = replace(make_cases(1, targeted=False)[0], label=2)
    (state,) = attacked("deepfool", [case], surrogate())
    assert np.array_equal(state.adversarial, case.image)
    assert state.gradients == 0


@pytest.mark.parametrize("name", ["cw", "l-bfgs"])
def test_the_change_is_nearly_the_smallest(name, surrogate, make_cases):
    (case,) = make_cases(1)
    (state,) = attacked(f"{name}(iterations=60)", [case], surrogate())
    red, green, _ = case.image.mean((0, 1))
    size = float(np.sqrt(np.mean((state.adversarial - case.image) ** 2)))
    smallest = (red - green) / np.sqrt(6)
    assert smallest <= size < 2 * smallest


@pytest.mark.parametrize("kind", [Fgsm, IFgsm])
def test_signed_steps_end_in_a_corner_of_the_budget(kind, surrogate, make_cases):
    (case,) = make_cases(1)
    (state,) = run(kind(epsilon=0.02), [case], Attacker(surrogate(), surrogate()))
    change = state.adversarial - case.image
    inside = (case.image > 0.02) & (case.image < 0.98)
    assert inside.any()
    assert np.abs(change)[inside] == pytest.approx(0.02, abs=1e-6)
    assert (change[..., 0] <= 0).all()
    assert (change[..., 1] >= 0).all()


@pytest.mark.parametrize("text", ["fgsm", "i-fgsm", "cw(iterations=8)", "deepfool", "l-bfgs"])
def test_a_batch_gives_the_same_results_as_single_photographs(text, surrogate, make_cases):
    attack = parse_attack(text)
    cases, victim = make_cases(3, attack.targeted, "network"), surrogate(model="network")
    attacker = Attacker(victim, victim)
    together = run(attack, cases, attacker)
    alone = [run(attack, [case], attacker)[0] for case in cases]
    for one, other in zip(together, alone, strict=True):
        assert one.adversarial == pytest.approx(other.adversarial, abs=1e-4)


def test_attacks_on_the_bare_model_ignore_the_defence(surrogate, make_cases):
    cases = make_cases(1)
    bare, defended = (attacked("i-fgsm", cases, surrogate(name)) for name in ("none", "fd+rdg"))
    assert np.array_equal(bare[0].adversarial, defended[0].adversarial)


def test_the_surrogate_is_not_changed(surrogate, make_cases):
    victim = surrogate()
    before = victim.module(_pixels(make_cases(1)))
    for text in ("fgsm(targeted=false)", "deepfool"):
        attacked(text, make_cases(1, targeted=False), victim)
    assert not victim.module.training
    assert (victim.module(_pixels(make_cases(1))) == before).all()


def _pixels(cases):
    return torch.from_numpy(cases[0].image).permute(2, 0, 1)[None]
