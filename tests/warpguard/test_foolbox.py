"""Foolbox: its PGD through a defended module, and its HopSkipJump on a server."""

from random import Random

import eagerpy
import numpy as np
import pytest
import torch

from warpguard.endpoint import Endpoint
from warpguard.torch import Defended

foolbox = pytest.importorskip("foolbox")


def test_its_pgd_runs_through_a_defended_module(colours, reddish):
    model = Defended(colours, "fd+rdg", draws=3, generator=Random(0)).eval()
    attack = foolbox.attacks.LinfPGD(abs_stepsize=0.02, steps=8, random_start=False)
    goal = foolbox.criteria.TargetedMisclassification(torch.full((4,), 2))
    of = foolbox.PyTorchModel(model, bounds=(0, 1))
    _, found, success = attack(of, reddish, goal, epsilons=0.1)
    assert success.all()
    assert model(found).argmax(dim=1).tolist() == [2] * 4


@pytest.mark.parametrize("kind", ["torch", "numpy"])
def test_a_server_is_a_model(colour_client, reddish, kind):
    from warpguard.foolbox import EndpointModel

    model = EndpointModel(Endpoint(colour_client, defense="none"))
    images = reddish if kind == "torch" else reddish.numpy()
    found = model(images)
    assert type(found) is type(images)
    assert eagerpy.astensor(found).argmax(axis=1).numpy().tolist() == [0] * 4
    assert model.endpoint.queries == 4
    assert tuple(model.bounds) == (0, 1)


def test_its_hopskipjump_runs_on_a_server(colour_client, reddish):
    from warpguard.foolbox import EndpointModel

    model = EndpointModel(Endpoint(colour_client, defense="none"))
    attack = foolbox.attacks.HopSkipJumpAttack(
        steps=2, initial_gradient_eval_steps=20, max_gradient_eval_steps=40
    )
    image = eagerpy.astensor(reddish[:1])
    found = attack.run(model, image, foolbox.criteria.Misclassification(torch.zeros(1).long()))
    assert int(model(found.raw).argmax()) != 0
    assert 0 < float((found.raw - reddish[:1]).abs().max()) <= 1
    assert np.isfinite(found.numpy()).all()
