"""Options that an attack cannot use are refused, because ignored options would mislead."""

from itertools import pairwise

import pytest

from harness.attacks import ATTACKS, parse_attack
from harness.errors import OptionsError
from harness.runs.options import Options, require_use


@pytest.mark.parametrize("rounds", [None, (), (1,), (5,), (5, 1, 3)])
def test_the_rounds_of_the_attack_can_be_scored(rounds):
    attack, options = parse_attack("adaptive(rounds=5)"), Options(score_rounds=rounds)
    require_use(attack, options)
    assert set(rounds or ()) <= set(options.rounds_of(attack))


@pytest.mark.parametrize("rounds", [2000, 10_000, 100_000])
def test_long_attacks_are_scored_in_each_order_of_magnitude(rounds):
    scored = Options().rounds_of(parse_attack(f"bpda(rounds={rounds})"))
    assert {50, 100, 200, 500, 1000, 2000, rounds} <= set(scored)
    assert len(scored) <= 30
    assert all(after <= 2 * before for before, after in pairwise(scored))


@pytest.mark.parametrize(
    ("attack", "rounds", "answer"),
    [
        (
            "adaptive(rounds=5)",
            (1, 6, 99),
            r"adaptive has no round 6, 99\. .* --score-rounds must be 1 to 5\.$",
        ),
        ("adaptive(rounds=5)", (0,), r"has no round 0\. .* must be 1 to 5\.$"),
        ("cw", (1, 2), r"cw has no round 2\. .* must be 1\.$"),
    ],
)
def test_rounds_that_the_attack_does_not_have_are_refused(attack, rounds, answer):
    with pytest.raises(OptionsError, match=answer):
        require_use(parse_attack(attack), Options(score_rounds=rounds))


@pytest.mark.parametrize(
    ("option", "number", "least"),
    [("sanity_images", -1, 0), ("scoring_draws", 0, 1), ("images_at_once", 0, 1)],
)
def test_numbers_that_are_too_small_are_refused(option, number, least):
    with pytest.raises(OptionsError, match=f"must be {least} or more, not {number}"):
        Options(**{option: number})


@pytest.mark.parametrize("name", ATTACKS)
def test_a_source_model_is_refused_by_attacks_without_gradients(name):
    attack = ATTACKS[name]()
    if attack.needs_gradients:
        require_use(attack, Options(), "another")
    else:
        with pytest.raises(OptionsError, match=rf"{name} takes no .* another\. .* fgsm, "):
            require_use(attack, Options(), "another")
