"""Specifications are read as they are written, and a mistake is answered by what is allowed."""

import subprocess
import sys
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.attacks import ATTACKS, described, parse_attack, specification
from harness.errors import AttackError

VALUES = {
    "rounds": st.integers(1, 1000),
    "norm": st.sampled_from(["l2", "linf"]),
    "epsilon": st.floats(1e-9, 1),
    "targeted": st.booleans(),
    "early_stop": st.booleans(),
    "knowledge": st.sampled_from(["bare", "identity", "random", "exact"]),
    "loss": st.sampled_from(["cross-entropy", "logit", "margin"]),
    "rule": st.sampled_from(["l2", "sign", "raw"]),
    "step": st.floats(1e-9, 1e9),
    "draws": st.integers(1, 100),
    "momenta": st.lists(st.floats(0, 0.999), min_size=1, max_size=4).map(tuple),
    "random_start": st.booleans(),
    "iterations": st.integers(1, 10**6),
    "search_steps": st.integers(1, 9),
    "queries": st.integers(600_000, 10**9),
    "kind": st.sampled_from(["uniform", "gaussian", "sign"]),
    "quantized": st.booleans(),
    "confidence": st.floats(0, 100),
}
FIXED = {
    "fgsm": {"rounds", "iterations"},
    "i-fgsm": {"rounds"},
    "l-bfgs": {"rounds"},
    "cw": {"rounds"},
    "deepfool": {"rounds", "targeted"},
    "square": {"rounds", "draws"},  # both bound the queries
    "simba": {"rounds", "draws"},
}


@given(st.data(), st.sampled_from(list(ATTACKS)))
def test_a_written_specification_is_read_back(data, name):
    attack = ATTACKS[name]()
    for field in fields(attack):
        if (
            field.name in VALUES
            and field.name not in FIXED.get(name, ())
            and data.draw(st.booleans())
        ):
            attack = replace(attack, **{field.name: data.draw(VALUES[field.name])})
    text = specification(attack)
    assert parse_attack(text) == attack
    assert specification(parse_attack(text)) == text


@pytest.mark.parametrize("name", ATTACKS)
def test_a_name_alone_is_the_default(name):
    assert parse_attack(f" {name} ") == parse_attack(f"{name}()") == ATTACKS[name]()
    assert specification(ATTACKS[name]()) == name


def test_an_example():
    attack = parse_attack(
        "adaptive(rounds=50, draws=12, loss=margin, momenta=0/0.9/0.99, random_start=true, "
        "norm=linf, epsilon=8/255)"
    )
    assert (attack.rounds, attack.draws, attack.loss) == (50, 12, "margin")
    assert attack.momenta == (0, 0.9, 0.99)
    assert attack.random_start is True
    assert attack.epsilon == 8 / 255
    assert specification(attack) == (
        "adaptive(norm=linf,epsilon=0.03137254901960784,loss=margin,draws=12,"
        "momenta=0.0/0.9/0.99,random_start=true)"
    )


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("", "'' is not a valid attack. Write a name"),
        ("adaptive(rounds=3", "is not a valid attack. Write a name"),
        ("adaptive+noise", "is not a valid attack. Write a name"),
        ("eot", "Unknown attack 'eot'. Attacks: fgsm, i-fgsm, l-bfgs, cw, deepfool, bpda"),
        (
            "noise(draws=3)",
            "with rounds, norm, epsilon, targeted, early_stop, kind; not 'draws=3'",
        ),
        ("noise(rounds)", "noise: write parameter=value with rounds, norm"),
        ("noise(rounds=1,rounds=2)", "noise: rounds is given twice."),
        ("noise(rounds=2.5)", "noise: rounds must be a whole number, not '2.5'."),
        ("noise(rounds=)", "noise: rounds must be a whole number, not ''."),
        ("noise(epsilon=nan)", "noise: epsilon must be a number, not 'nan'."),
        ("noise(epsilon=inf)", "noise: epsilon must be a number, not 'inf'."),
        ("noise(epsilon=1/0)", "noise: epsilon must be a number, not '1/0'."),
        ("noise(epsilon=1/2/3)", "noise: epsilon must be a number, not '1/2/3'."),
        ("noise(rounds=5 0)", "'noise(rounds=5 0)' is not a valid attack. Write a name"),
        ("noise*2", "is not a valid attack. Write a name"),
        ("noise(targeted=yes)", "noise: targeted must be true or false, not 'yes'."),
        ("noise(norm=l1)", "noise: norm must be l2 or linf, not 'l1'."),
        ("adaptive(momenta=0/x)", "adaptive: momenta must be a number, not '0/x'."),
        (
            "adaptive(momenta=0/1)",
            "momenta must be in [0, 1), such as 0/0.9/0.99, not (0.0, 1.0).",
        ),
    ],
)
def test_a_mistake_is_answered_by_what_is_allowed(text, answer):
    with pytest.raises(AttackError) as error:
        parse_attack(text)
    assert answer in str(error.value)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_description_can_be_typed(name):
    for line in described(ATTACKS[name]):
        key, _, values = line.partition("=")
        default, *others = values.split(" | ")
        assert parse_attack(f"{name}({key}={default})") == ATTACKS[name]()
        for other in others:
            assert specification(parse_attack(f"{name}({key}={other})")) == f"{name}({key}={other})"


@pytest.mark.parametrize(
    ("name", "line"),
    [
        ("adaptive", "norm=l2 | linf"),
        ("adaptive", "knowledge=exact | bare | identity | random"),
        ("adaptive", "random_start=false | true"),
        ("adaptive", "momenta=0"),
        ("square", "epsilon=8/255"),
        ("i-fgsm", "step=1/255"),
        ("i-fgsm", "epsilon=0.03"),
        ("deepfool", "targeted=false"),  # it refuses targeted=true
    ],
)
def test_a_description_says_what_is_allowed(name, line):
    assert line in described(ATTACKS[name])


def test_slow_libraries_are_imported_when_they_are_used():
    code = "import sys, harness.attacks; print([m for m in ('art', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
