"""PGD through ART: it is ART's attack, through our defence, and agrees with ``adaptive``."""

from dataclasses import replace

import numpy as np
import pytest

from defenses import Pipeline
from harness.attacks import Attacker, parse_attack, run
from harness.attacks.art import IFgsm
from harness.dataset import Dataset
from harness.surrogate.surrogate import Surrogate
from models import Store, ensure


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("targeted", [False, True])
def test_its_rounds_are_the_iterations_of_arts_attack(norm, targeted, surrogate, make_cases):
    """``i-fgsm`` is a single call of ART's attack, on the same model without a defence."""
    cases, victim = make_cases(2, targeted, model="network"), surrogate(model="network")
    step = 0.004 if norm == "linf" else 0.02
    single = IFgsm(iterations=7, norm=norm, epsilon=0.02, step=step, targeted=targeted)
    pgd = parse_attack("pgd(rounds=7,epsilon=0.02)")
    pgd = replace(pgd, norm=norm, step=step, targeted=targeted)
    expected, found = (run(each, cases, Attacker(victim, victim)) for each in (single, pgd))
    for one, other in zip(expected, found, strict=True):
        assert other.adversarial == pytest.approx(one.adversarial, abs=1e-5)


@pytest.mark.parametrize("defense", ["rdg", "fd+rdg", "rand"])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_makes_the_steps_of_adaptive(defense, norm, surrogate, make_cases):
    """Both take the same draws, so that they must agree step by step."""
    cases = make_cases(2, model="network")
    victim = surrogate(defense, model="network")
    rule = "l2" if norm == "l2" else "sign"
    texts = (
        f"pgd(rounds=5,draws=3,norm={norm},epsilon=0.03)",
        f"adaptive(rounds=5,draws=3,norm={norm},epsilon=0.03,rule={rule})",
    )
    ours, exact = (run(parse_attack(text), cases, Attacker(victim, victim)) for text in texts)
    for one, other, case in zip(ours, exact, cases, strict=True):
        assert not np.array_equal(one.adversarial, case.image)
        # A sign may turn where the gradient is almost zero.
        differs = np.abs(one.adversarial - other.adversarial) > 1e-4
        assert differs.mean() < 0.001
        assert one.gradients == other.gradients == 15


def test_a_fixed_defence_has_one_draw(surrogate, make_cases):
    cases = make_cases(1)
    states = run(parse_attack("pgd(rounds=3)"), cases, Attacker(surrogate("fd"), surrogate("fd")))
    assert [state.gradients for state in states] == [3]


@pytest.mark.parametrize(("value", "counted"), [(np.nan, (2, 0)), (0.0, (0, 2))])
def test_useless_gradients_are_counted(value, counted, surrogate, make_cases, monkeypatch):
    cases, victim = make_cases(1), surrogate("rdg")
    monkeypatch.setattr(Pipeline, "vjp", lambda _, gradient, __: np.full_like(gradient, value))
    (state,) = run(parse_attack("pgd(rounds=2)"), cases, Attacker(victim, victim))
    assert (state.nonfinite_gradients, state.zero_gradients) == counted
    assert np.isfinite(state.adversarial).all()


@pytest.mark.slow
def test_it_reaches_what_adaptive_reaches_behind_the_default_defence(successes):
    """Two implementations, one number: on ``fd+rdg`` both reach 95 % or more."""
    victim = Surrogate(*ensure(Store(), "efficientnet-lite2"), Pipeline.parse("fd+rdg"))
    classes = len(victim.manifest.label_names)
    bare = victim.with_defense(Pipeline())
    cases = Dataset.demo(classes).cases(victim.manifest, bare.classes, 3, targeted=True)
    for name in ("pgd", "adaptive"):
        states = run(parse_attack(f"{name}(rounds=25,draws=5)"), cases, Attacker(victim, victim))
        assert np.mean(successes(victim, cases, states, draws=20)) >= 0.95, name
