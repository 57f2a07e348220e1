"""Options that an attack has no use for are refused: ignored, they would mislead."""

import pytest

from harness.attacks import ATTACKS, parse_attack
from harness.errors import OptionsError
from harness.runs.options import Options, require_use


@pytest.mark.parametrize("rounds", [None, (), (1,), (5,), (5, 1, 3)])
def test_rounds_that_the_attack_has_are_scored(rounds):
    attack, options = parse_attack("adaptive(rounds=5)"), Options(score_rounds=rounds)
    require_use(attack, options)
    assert set(rounds or ()) <= set(options.rounds_of(attack))


@pytest.mark.parametrize(
    ("attack", "rounds", "answer"),
    [
        (
            "adaptive(rounds=5)",
            (1, 6, 99),
            r"adaptive: --score-rounds are 1 to 5, .*; not 6, 99\.$",
        ),
        ("adaptive(rounds=5)", (0,), r"are 1 to 5, .*; not 0\.$"),
        ("cw", (1, 2), r"cw: --score-rounds are 1, .*; not 2\.$"),
    ],
)
def test_rounds_that_it_never_comes_to_are_refused(attack, rounds, answer):
    with pytest.raises(OptionsError, match=answer):
        require_use(parse_attack(attack), Options(score_rounds=rounds))


@pytest.mark.parametrize("name", ATTACKS)
def test_another_model_s_gradients_are_for_attacks_that_take_gradients(name):
    attack = ATTACKS[name]()
    if attack.needs_gradients:
        require_use(attack, Options(), "another")
    else:
        with pytest.raises(OptionsError, match=rf"{name} takes no .* another; fgsm, .*adaptive do"):
            require_use(attack, Options(), "another")
