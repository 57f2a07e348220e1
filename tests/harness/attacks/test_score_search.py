"""The search by score: what sequential posting saves on answers that scatter."""

import cv2
import numpy as np
import pytest

from harness.attacks import Attacker, parse_attack, run
from harness.types import Case

CASES = [Case(f"{n}.png", np.full((32, 32, 3), 0.5, np.float32), 0, None) for n in range(12)]


class Scattering:
    """A victim with two classes, whose margin is linear in the image and scatters by 0.7 nats.

    The margin is 4 nats at the photograph, and -4 at the best image within 8/255.
    """

    def __init__(self, seed=0, spread=0.7):
        self.random, self.spread, self.posted = np.random.default_rng(seed), spread, 0
        weights = cv2.GaussianBlur(np.random.default_rng(5).normal(size=(32, 32, 3)), (0, 0), 2)
        self.weights = weights * 8 / (np.abs(weights).sum() * 8 / 255)

    def margin(self, image):
        return 4 - float(((image - 0.5) * self.weights).sum())

    def probabilities(self, images, draws=1):
        self.posted += len(images) * draws
        rights = []
        for image in images:
            margin = self.margin(image / 255 if image.dtype == np.uint8 else image)
            scattered = margin + self.spread * self.random.standard_normal(draws)
            rights.append((1 / (1 + np.exp(-scattered))).mean())
        return np.array([[right, 1 - right] for right in rights])


def reached(victim, text, seed=0):
    """Return the mean margin of the last iterates, and their states."""
    states = run(parse_attack(text), CASES, Attacker(None, victim, seed))
    return np.mean([victim.margin(state.adversarial) for state in states]), states


@pytest.mark.parametrize("attack", ["square", "simba"])
def test_sequential_posting_gets_further_with_the_same_posts(attack):
    form = "%s(queries=1200,rounds=4,targeted=false,quantized=false,norm=linf,epsilon=8/255%s)"
    batch, before = reached(Scattering(), form % (attack, ""))
    sequential, after = reached(Scattering(), form % (attack, ",posting=sequential"))
    assert sequential < batch
    tried = [np.mean([state.memory["scores"][3] for state in each]) for each in (before, after)]
    assert tried[1] > 1.5 * tried[0]


@pytest.mark.parametrize("draws", [2, 10])
@pytest.mark.parametrize("attack", ["square", "simba"])
def test_sequential_posts_are_counted_and_stay_within_the_queries(attack, draws):
    victim = Scattering()
    _, states = reached(victim, f"{attack}(queries=240,rounds=2,draws={draws},posting=sequential)")
    assert sum(state.queries for state in states) == victim.posted
    assert all(240 - 3 * draws < state.queries <= 240 for state in states)


def test_a_fixed_defence_is_posted_each_image_once_by_either_posting():
    text = "square(queries=200,rounds=2,posting=%s)"
    batch, sequential = (
        reached(Scattering(spread=0), text % each)[1] for each in ("batch", "sequential")
    )
    for one, other in zip(batch, sequential, strict=True):
        assert one.queries == other.queries
        assert np.array_equal(one.adversarial, other.adversarial)


def test_a_candidate_that_is_lucky_is_not_kept():
    """The scores do not depend on the image, and are very good now and then."""

    class Luck(Scattering):
        def probabilities(self, images, draws=1):
            lucky = self.random.random((len(images), draws)) < 0.05
            right = (0.9 - 0.8 * lucky + self.random.uniform(0, 0.01, lucky.shape)).mean(axis=1)
            return np.stack([right, 1 - right], axis=1)

    _, states = reached(Luck(), "square(queries=2400,rounds=4,posting=sequential,targeted=false)")
    totals = [state.memory["scores"] for state in states]
    means = [total / posts for total, posts, *_ in totals if posts >= 10]
    assert len(means) >= 4
    # The mean margin of all posts is 2: one in twenty has -2.2, and the others 2.2.
    assert np.mean(means) == pytest.approx(2, abs=0.3)
