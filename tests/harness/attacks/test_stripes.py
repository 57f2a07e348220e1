"""Stripes: their size, that they need no answer, and how the best of some is chosen."""

import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.errors import HiddenProbabilitiesError
from harness.types import Case

GREY = np.full((9, 16, 3), 128 / 255, np.float32)


def attacked(text, victim=None, target=None, seed=0):
    case = Case("x.png", GREY, 0, target)
    (state,) = run(parse_attack(text), [case], Attacker(None, victim, seed))
    return state


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_every_column_changes_by_the_whole_budget_up_or_down(norm):
    state = attacked(f"stripes(norm={norm},epsilon=0.05)")
    change = state.adversarial - GREY
    assert np.abs(change) == pytest.approx(0.05, abs=1e-6)
    assert np.ptp(change, axis=0).max() == 0
    assert {-1, 1} == set(np.sign(change[0]).ravel())
    assert state.queries == 0


def test_the_default_is_one_image_at_eight_levels():
    assert np.abs(attacked("stripes").adversarial - GREY) == pytest.approx(8 / 255, abs=1e-6)
    assert not np.array_equal(attacked("stripes").adversarial, attacked("stripes", seed=1))


class FirstColumn:
    """A victim that takes an image for the label, the more surely the darker its first column."""

    def __init__(self, hidden=False):
        self.posted, self.hidden = [], hidden

    def probabilities(self, images):
        if self.hidden:
            raise HiddenProbabilitiesError("hidden")
        self.posted += images
        wrong = np.array([image[0, 0].mean() for image in images], np.float32) / 255
        return np.stack([1 - wrong, 0.7 * wrong, 0.3 * wrong], axis=1)

    def classes(self, images):
        self.posted += images
        return np.array([int(image[0, 0].mean() > 130) for image in images])


@pytest.mark.parametrize("target", [None, 1])
def test_the_most_wrong_of_some_images_is_kept(target):
    text = f"stripes(best_of=20,targeted={str(target is not None).lower()})"
    victim = FirstColumn()
    state = attacked(text, victim, target)
    assert state.queries == len(victim.posted) == 20
    assert len({image.tobytes() for image in victim.posted}) == 20
    means = [image[0, 0].mean() for image in victim.posted]
    kept = np.rint(state.adversarial * 255)[0, 0].mean()
    assert kept == max(means) > np.median(means)


@pytest.mark.parametrize("target", [None, 1])
def test_a_wrong_one_is_kept_if_the_endpoint_returns_classes_only(target):
    text = f"stripes(best_of=20,targeted={str(target is not None).lower()})"
    victim = FirstColumn(hidden=True)
    state = attacked(text, victim, target)
    assert state.queries == len(victim.posted) == 20
    assert 0 < victim.classes(victim.posted).mean() < 1
    assert victim.classes([np.rint(state.adversarial * 255).astype(np.uint8)])[0] == 1


def test_the_best_of_ten_is_not_scored_by_the_answer_that_chose_it(surrogate, make_cases, counting):
    cases, victim = make_cases(2, targeted=False), counting(surrogate("rdg"))
    run(parse_attack("stripes(best_of=10)"), cases, Attacker(None, victim))
    assert victim.calls == 10
    assert len(victim.posted) == 20
    assert all(image.dtype == np.uint8 for image in victim.posted)
