"""What ART's and Foolbox's own PGD reach behind the default defence, with and without gradients."""

import numpy as np
import pytest
import torch

from defenses import Pipeline
from harness.dataset import Dataset
from harness.surrogate.surrogate import Surrogate
from models import Store, ensure
from warpguard.torch import Defended

EPSILON, STEP, STEPS, DRAWS = 0.05, 0.004, 25, 5
"""Root mean squares, as those of the harness's ``adaptive``."""


@pytest.fixture(scope="module")
def victim():
    return Surrogate(*ensure(Store(), "efficientnet-lite2"), Pipeline.parse("fd+rdg"), device="cpu")


@pytest.fixture(scope="module")
def cases(victim):
    bare = victim.with_defense(Pipeline())
    classes = len(victim.manifest.label_names)
    return Dataset.demo(classes).cases(victim.manifest, bare.classes, 3, targeted=True)


@pytest.fixture(scope="module")
def batch(cases):
    images = np.stack([case.image for case in cases]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(images), np.array([case.goal for case in cases])


def by_art(model, images, goals):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    size = float(np.sqrt(images[0].size))
    classifier = PyTorchClassifier(
        model,
        torch.nn.CrossEntropyLoss(),
        images.shape[1:],
        1000,
        clip_values=(0, 1),
        device_type="cpu",
    )
    attack = ProjectedGradientDescent(
        classifier,
        norm=2,
        eps=EPSILON * size,
        eps_step=STEP * size,
        max_iter=STEPS,
        targeted=True,
        batch_size=1,
        verbose=False,
    )
    return attack.generate(images, goals)


def by_foolbox(model, images, goals):
    import foolbox

    size = float(np.sqrt(images[0].size))
    attack = foolbox.attacks.L2PGD(abs_stepsize=STEP * size, steps=STEPS, random_start=False)
    of = foolbox.PyTorchModel(model.eval(), bounds=(0, 1), device="cpu")
    found = []
    for image, goal in zip(images, goals, strict=True):  # one by one: a batch takes more memory
        wanted = foolbox.criteria.TargetedMisclassification(torch.tensor([goal]))
        _, one, _ = attack(of, torch.from_numpy(image[None]), wanted, epsilons=EPSILON * size)
        found.append(one[0].numpy())
    return np.stack(found)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Please import .gaussian_filter.:DeprecationWarning")  # Foolbox
@pytest.mark.parametrize(("gradient", "least", "most"), [("exact", 0.95, 1), ("identity", 0, 0)])
@pytest.mark.parametrize("attack", [by_art, by_foolbox])
def test_gradients_of_the_defence_decide(attack, gradient, least, most, victim, cases, batch):
    images, goals = batch
    model = Defended(victim.module, "fd+rdg", draws=DRAWS, gradient=gradient)
    found = attack(model, images, goals)
    for image, case in zip(found, cases, strict=True):
        distance = np.sqrt(np.mean((image.transpose(1, 2, 0) - case.image) ** 2))
        assert 0.01 < distance <= EPSILON * 1.001
    reached = [
        victim.classes([np.ascontiguousarray(image.transpose(1, 2, 0))] * 20) == goal
        for image, goal in zip(found, goals, strict=True)
    ]
    assert least <= np.mean(reached) <= most
