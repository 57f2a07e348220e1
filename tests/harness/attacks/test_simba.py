"""SimBA: its directions, the order in which it posts them, and that it breaks small models."""

import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.attacks.score_search import Search
from harness.types import Case, State

GREY = Case("x.png", np.full((16, 24, 3), 0.5, np.float32), 0, None)


def directions(text, count):
    """Return the changes that are tried first if none of them helps, and the step."""
    attack, attacker = parse_attack(text), Attacker(None, None)
    search = Search(GREY, State(GREY.image), np.random.default_rng(0))
    changes = []
    for search.tried in range(2 * count):
        changes.append((attack.candidate(search, attacker) - GREY.image).astype(np.float64))
    return changes, attack.step


@pytest.mark.parametrize(("text", "count"), [("frequencies=1/8", 18), ("frequencies=1/4", 72)])
def test_the_waves_are_orthogonal_and_come_once_each(text, count):
    changes, step = directions(f"simba({text},epsilon=0.5)", count)
    vectors = np.array([change.ravel() for change in changes[::2]])
    products = vectors @ vectors.T / vectors.shape[1] / step**2
    assert products == pytest.approx(np.eye(count), abs=1e-4)
    assert changes[1] == pytest.approx(-changes[0], abs=1e-6)
    # Then they come again, in another order.
    again, _ = directions(f"simba({text},epsilon=0.5)", 2 * count)
    later = np.array([change.ravel() for change in again[2 * count :: 2]])
    both = np.abs(later @ vectors.T / vectors.shape[1] / step**2).round(3)
    assert sorted(map(tuple, both)) == sorted(map(tuple, np.eye(count)))
    assert not np.array_equal(both, np.eye(count))


def test_a_wave_has_low_frequencies_in_one_channel():
    changes, _ = directions("simba(epsilon=0.5)", 18)
    for change in changes[::2]:
        assert (np.abs(change).max(axis=(0, 1)) > 0).sum() == 1
        channel = change[..., np.abs(change).max(axis=(0, 1)).argmax()]
        assert (np.abs(np.diff(np.sign(channel), axis=0)) > 0).sum(axis=0).max() <= 1
        assert (np.abs(np.diff(np.sign(channel), axis=1)) > 0).sum(axis=1).max() <= 2


def test_pixels_are_changed_one_by_one():
    changes, step = directions("simba(basis=pixel,epsilon=0.5,step=0.005)", 50)
    places = [tuple(np.argwhere(change)[0]) for change in changes[::2]]
    assert all(np.count_nonzero(change) == 1 for change in changes)
    assert len(set(places)) == 50
    assert np.abs(changes[0]).max() == pytest.approx(step * np.sqrt(16 * 24 * 3))


class Getting:
    """A victim that gets surer of the label, or less sure, whatever is posted from the fifth on."""

    def __init__(self, by):
        self.by, self.posts = by, 0

    def probabilities(self, images, draws=1):
        assert len(images) == draws == 1
        self.posts += 1
        right = 0.5 + self.by * max(self.posts - 4, 0)
        return np.array([[right, 1 - right]])


@pytest.mark.parametrize(("by", "candidates"), [(1e-3, 1), (-1e-3, 2)])
def test_backwards_is_posted_only_if_forwards_does_not_help(by, candidates):
    attack = parse_attack("simba(queries=106,rounds=1,targeted=false)")
    victim = Getting(by)
    (state,) = run(attack, [GREY], Attacker(None, victim))
    posted = victim.posts - 5  # four of the photograph, and one of the start
    assert state.queries == victim.posts
    assert state.memory["scores"][3] == candidates * posted


@pytest.mark.parametrize("basis", ["dct", "pixel"])
@pytest.mark.parametrize("defense", ["none", "rdg"])
def test_every_posted_image_is_counted(basis, defense, surrogate, make_cases, counting):
    attack = parse_attack(f"simba(queries=400,draws=2,rounds=4,basis={basis})")
    victim = counting(surrogate(defense))
    states = run(attack, make_cases(3), Attacker(None, victim))
    assert sum(state.queries for state in states) == len(victim.posted)
    assert all(image.dtype == np.uint8 for image in victim.posted)
    assert all(state.queries <= attack.queries for state in states)


@pytest.mark.parametrize("basis", ["dct", "pixel"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_it_breaks_an_undefended_model_within_its_queries(
    basis, targeted, norm, surrogate, make_cases, successes
):
    cases, victim = make_cases(3, targeted, "network"), surrogate(model="network")
    epsilon = 0.08 if basis == "pixel" else 0.05
    attack = parse_attack(
        f"simba(queries=600,draws=1,targeted={str(targeted).lower()},norm={norm},basis={basis},"
        f"epsilon={epsilon})"
    )
    states = run(attack, cases, Attacker(None, victim))
    assert successes(victim, cases, states, draws=1) == [1.0] * 3
    assert all(
        attack.budget.holds(c.image, s.adversarial) for c, s in zip(cases, states, strict=True)
    )


@pytest.mark.parametrize("defense", ["rdg", "fd+rdg"])
def test_it_breaks_a_random_defence_of_a_model_near_its_boundary(
    defense, surrogate, make_cases, successes
):
    cases, victim = make_cases(2), surrogate(defense)
    states = run(parse_attack("simba(queries=3000,draws=4)"), cases, Attacker(None, victim))
    assert min(successes(victim, cases, states)) >= 0.9
