"""What every attack must do (after Zimmermann et al. 2022): break what is known to break."""

import pickle
from dataclasses import replace

import numpy as np
import pytest

from harness.attacks import ATTACKS, Attacker, parse_attack, run
from harness.errors import AttackError

QUICK = {
    "fgsm": "fgsm",
    "i-fgsm": "i-fgsm",
    "l-bfgs": "l-bfgs(iterations=30)",
    "cw": "cw(iterations=30)",
    "deepfool": "deepfool",
    "bpda": "bpda(rounds=12)",
    "bpda-eot": "bpda-eot(rounds=12,draws=2)",
    "semi-brute-force": "semi-brute-force(rounds=12,draws=2)",
    "adaptive": "adaptive(rounds=12,draws=2)",
    "pgd": "pgd(rounds=12,draws=2)",
    "square": "square(rounds=3,queries=300)",
    "simba": "simba(rounds=3,queries=300)",
    "hopskipjump": "hopskipjump(rounds=9,directions=80)",
    "noise": "noise(rounds=2)",
    "stripes": "stripes(rounds=2,best_of=3)",
}
CONTROLS = ("noise", "stripes")
BREAKING = [name for name in QUICK if name not in CONTROLS]
RANDOM = ("square", "simba", "hopskipjump", *CONTROLS)
NORMS = [(name, norm) for name in QUICK for norm in ("l2", "linf")]


def quick(name, **changes):
    return replace(parse_attack(QUICK[name]), **changes)


def same(one, other):
    return all(
        np.array_equal(a.adversarial, b.adversarial) and a.gradients == b.gradients
        for a, b in zip(one, other, strict=True)
    )


def test_every_attack_is_tested_here():
    assert list(QUICK) == list(ATTACKS)
    assert all(kind.summary and kind.reference for kind in ATTACKS.values())


@pytest.mark.parametrize("model", ["colour", "network"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("name", BREAKING)
def test_it_breaks_the_undefended_model(name, targeted, model, surrogate, make_cases, successes):
    if name == "deepfool" and targeted:
        with pytest.raises(AttackError, match="deepfool: targeted must be false"):
            quick(name, targeted=True)
        return
    cases, victim = make_cases(targeted=targeted, model=model), surrogate(model=model)
    assert successes(
        victim, cases, [quick(name).begin(c, Attacker(None, victim)) for c in cases]
    ) == [0.0] * len(cases)
    states = run(quick(name, targeted=targeted), cases, Attacker(victim, victim))
    assert successes(victim, cases, states) == [1.0] * len(cases)


@pytest.mark.parametrize("kind", ["gaussian", "uniform", "sign"])
@pytest.mark.parametrize("model", ["colour", "network"])
def test_noise_does_not_break_the_undefended_model(kind, model, surrogate, make_cases, successes):
    cases, victim = make_cases(10, targeted=False, model=model), surrogate(model=model)
    states = run(quick("noise", kind=kind), cases, Attacker(None, victim))
    assert successes(victim, cases, states, draws=1) == [0.0] * len(cases)
    for case, state in zip(cases, states, strict=True):
        assert np.sqrt(np.mean((state.adversarial - case.image) ** 2)) == pytest.approx(0.05, 0.01)


@pytest.mark.parametrize(("name", "norm"), NORMS)
def test_no_iterate_leaves_the_budget(name, norm, surrogate, make_cases):
    attack = quick(name, norm=norm, epsilon=0.011)
    cases, victim = make_cases(2, targeted=attack.targeted), surrogate("rdg")
    attacker = Attacker(victim if attack.needs_gradients else None, victim)
    states = [attack.begin(case, attacker) for case in cases]
    for round_ in range(attack.rounds):
        states = attack.advance(cases, states, attacker)
        for case, state in zip(cases, states, strict=True):
            assert state.round == round_ + 1
            assert state.adversarial.dtype == np.float32
            assert state.adversarial.shape == case.image.shape
            assert state.adversarial.min() >= 0
            assert state.adversarial.max() <= 1
            assert attack.budget.holds(case.image, state.adversarial)


@pytest.mark.parametrize("name", QUICK)
def test_the_seed_decides_the_result(name, surrogate, make_cases):
    attack = quick(name)
    cases, victim = make_cases(2, targeted=attack.targeted), surrogate()
    one, again, other = (
        run(attack, cases, Attacker(victim, victim, seed=seed)) for seed in (3, 3, 4)
    )
    assert same(one, again)
    assert same(one, other) == (name not in RANDOM)


@pytest.mark.parametrize("name", ["bpda-eot", "semi-brute-force", "adaptive", "pgd"])
def test_the_seed_decides_the_draws(name, surrogate, make_cases):
    cases, victim = make_cases(1, model="network"), surrogate("rdg", model="network")
    one, again, other = (
        run(quick(name, rounds=3), cases, Attacker(victim, victim, seed=seed)) for seed in (3, 3, 4)
    )
    assert same(one, again)
    assert not same(one, other)


@pytest.mark.parametrize(
    "attack",
    [
        *(quick(name) for name in QUICK if quick(name).rounds > 1),
        quick("adaptive", rounds=6, restarts=2, random_start=True, momenta=(0.0, 0.9)),
        quick("square", norm="l2"),
        quick("simba", basis="pixel", norm="linf"),
        quick("square", posting="sequential"),
    ],
    ids=lambda attack: f"{attack.name}-{attack.norm}-{attack.rounds}",
)
def test_it_can_be_resumed_after_any_round(attack, surrogate, make_cases):
    cases, victim = make_cases(2, targeted=attack.targeted), surrogate()
    attacker = Attacker(victim, victim)
    kept = [attack.begin(case, attacker) for case in cases]
    for _ in range(attack.rounds):
        kept = pickle.loads(pickle.dumps(attack.advance(cases, kept, attacker)))
    through = run(attack, cases, attacker)
    assert same(through, kept)
    assert [state.queries for state in through] == [state.queries for state in kept]


@pytest.mark.parametrize("name", QUICK)
def test_it_needs_a_surrogate_only_if_it_takes_gradients(name, surrogate, make_cases):
    attack = quick(name)
    cases, blind = make_cases(1, targeted=attack.targeted), Attacker(None, surrogate())
    if attack.needs_gradients:
        with pytest.raises(AttackError, match=f"{name} needs gradients"):
            run(attack, cases, blind)
    else:
        (state,) = run(attack, cases, blind)
        assert state.gradients == 0
        assert (state.queries > 0) == (name != "noise")


@pytest.mark.parametrize("name", QUICK)
def test_more_iterations_and_another_budget_change_nothing_else(name):
    attack = quick(name)
    doubled, wider = attack.with_more_iterations(2), attack.with_epsilon(2 * attack.epsilon)
    changed = {field for field in vars(attack) if getattr(doubled, field) != getattr(attack, field)}
    expected = {"iterations"} if attack.on_bare_model else {"rounds"}
    expected |= {"queries"} if name in ("square", "simba") else set()
    assert changed == (set() if name == "fgsm" else expected)
    assert all(getattr(doubled, field) == 2 * getattr(attack, field) for field in changed)
    wide = {field for field in vars(attack) if getattr(wider, field) != getattr(attack, field)}
    assert wide == ({"epsilon", "step"} if hasattr(attack, "step") else {"epsilon"})


WRONG = {
    "fgsm": ["rounds=2", "iterations=2", "epsilon=0", "epsilon=1.5"],
    "i-fgsm": ["step=0", "iterations=0", "norm=l1"],
    "l-bfgs": ["search_steps=0", "initial_weight=-1", "iterations=0"],
    "cw": ["confidence=-1", "learning_rate=0", "search_steps=0", "initial_weight=0"],
    "deepfool": ["targeted=true", "candidates=1", "overshoot=0", "rounds=5"],
    "bpda": ["step=0", "draws=0", "rounds=0", "rounds=100001"],
    "adaptive": ["momenta=1", "restarts=3", "loss=hinge", "knowledge=all", "rule=l1"],
    "pgd": ["step=0", "draws=0", "norm=l1"],
    "square": ["queries=59", "draws=0", "first_fraction=0", "rounds=1000"],
    "simba": ["queries=59", "step=0", "frequencies=0", "frequencies=2", "basis=haar"],
    "hopskipjump": ["directions=0", "draws=0", "probe=0", "probe=2"],
    "noise": ["kind=pink", "epsilon=2"],
    "stripes": ["best_of=0", "norm=l1"],
}


@pytest.mark.parametrize(
    ("name", "wrong"), [(name, each) for name, wrongs in WRONG.items() for each in wrongs]
)
def test_a_wrong_parameter_is_named(name, wrong):
    parameter = wrong.partition("=")[0]
    if parameter == "rounds" and name == "square":
        parameter = "queries"
    with pytest.raises(AttackError, match=rf"^{name}\b.*\b{parameter}\b"):
        parse_attack(f"{name}({wrong})")
