"""ART in front of a defence: the gradient belongs to the draw, and its attacks run."""

from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from warpguard.endpoint import Endpoint
from warpguard.torch import Defended

art = pytest.importorskip("warpguard.art")


@pytest.fixture
def images():
    return np.random.default_rng(0).random((3, 3, 32, 24)).astype(np.float32)


def expected_gradient(layer, rows, gradients):
    found = [
        layer.defense.vjp(np.ascontiguousarray(each.transpose(1, 2, 0)), row).transpose(2, 0, 1)
        for each, row in zip(gradients, rows, strict=True)
    ]
    return np.stack(found)


def test_the_gradient_belongs_to_the_last_application(images):
    defense = art.Defense("fd+rdg")
    weights = np.random.default_rng(1).normal(size=images.shape).astype(np.float32)
    for _ in range(3):
        defended, labels = defense(images, np.array([1, 2, 3]))
        rows = defense._rows
        assert labels.tolist() == [1, 2, 3]
        replayed = defense.layer(torch.from_numpy(images), rows).numpy()
        assert np.array_equal(defended, replayed)
        gradient = defense.estimate_gradient(images, weights)
        assert gradient == pytest.approx(expected_gradient(defense.layer, rows, weights), abs=1e-6)
        assert defense._rows is rows
    by_class = defense.estimate_gradient(images, np.stack([weights, 2 * weights], axis=1))
    assert by_class[:, 1] == pytest.approx(2 * gradient, abs=1e-5)


def test_another_batch_gets_draws_of_its_own(images):
    defense = art.Defense("rdg")
    defense(images)
    one = defense.estimate_gradient(images[:2], images[:2])
    assert one.shape == (2, 3, 32, 24)
    assert len(defense._rows) == 2


def test_arrays_may_have_the_channels_last(images):
    first, last = (
        art.Defense("fd+rdg", generator=Random(0), channels_first=order) for order in (True, False)
    )
    moved = np.ascontiguousarray(images.transpose(0, 2, 3, 1))
    assert np.array_equal(last(moved)[0], first(images)[0].transpose(0, 2, 3, 1))
    gradient = last.estimate_gradient(moved, moved).transpose(0, 3, 1, 2)
    assert gradient == pytest.approx(first.estimate_gradient(images, images))


@pytest.mark.parametrize("gradient", ["exact", "identity"])
@pytest.mark.parametrize("chained", [True, False], ids=["in PyTorch", "in NumPy"])
def test_a_classifier_differentiates_through_it(images, gradient, chained):
    """Behind a preprocessor in NumPy, ART calls estimate_gradient; otherwise it chains tensors."""
    from art.estimators.classification import PyTorchClassifier
    from art.preprocessing.standardisation_mean_std.numpy import StandardisationMeanStd

    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 32 * 24, 4))
    defense = art.Defense("rdg", gradient=gradient)
    options = {} if chained else {"preprocessing": StandardisationMeanStd(0.0, 1.0)}
    classifier = PyTorchClassifier(
        model,
        nn.CrossEntropyLoss(reduction="sum"),
        (3, 32, 24),
        4,
        preprocessing_defences=[defense],
        device_type="cpu",
        **options,
    )
    assert classifier.all_framework_preprocessing == chained
    labels = np.eye(4, dtype=np.float32)[[0, 1, 2]]
    found = classifier.loss_gradient(images, labels)
    behind = defense.layer(torch.from_numpy(images), defense._rows).requires_grad_()
    loss = nn.functional.cross_entropy(model(behind), torch.tensor([0, 1, 2]), reduction="sum")
    (by_defended,) = torch.autograd.grad(loss, behind)
    expected = (
        expected_gradient(defense.layer, defense._rows, by_defended.numpy())
        if gradient == "exact"
        else by_defended.numpy()
    )
    assert found == pytest.approx(expected, abs=1e-6)


def test_its_pgd_runs_through_a_defended_module(colours, reddish):
    from art.attacks.evasion import ProjectedGradientDescent
    from art.estimators.classification import PyTorchClassifier

    model = Defended(colours, "fd+rdg", draws=3, generator=Random(0))
    classifier = PyTorchClassifier(
        model, nn.CrossEntropyLoss(), (3, 32, 32), 3, clip_values=(0, 1), device_type="cpu"
    )
    attack = ProjectedGradientDescent(
        classifier, eps=0.1, eps_step=0.02, max_iter=8, targeted=True, verbose=False
    )
    found = attack.generate(reddish.numpy(), np.full(4, 2))
    assert model(torch.from_numpy(found)).argmax(dim=1).tolist() == [2] * 4
    assert np.abs(found - reddish.numpy()).max() <= 0.1 + 1e-6


def test_its_hopskipjump_runs_on_a_server(colour_client, reddish):
    from art.attacks.evasion import HopSkipJump

    classifier = art.EndpointClassifier(Endpoint(colour_client, defense="none"))
    assert classifier.input_shape == (3, 32, 32)
    images = reddish[:1].numpy()
    probabilities = classifier.predict(images)
    rounded = np.rint(images * 255) / 255
    expected = torch.from_numpy(10 * rounded.mean(axis=(2, 3))).softmax(dim=1)
    assert probabilities == pytest.approx(expected.numpy(), abs=1e-4)
    attack = HopSkipJump(
        classifier, max_iter=3, max_eval=60, init_eval=20, init_size=20, verbose=False
    )
    found = attack.generate(images)
    assert classifier.predict(found).argmax() != probabilities.argmax() == 0
    assert classifier.endpoint.queries > 50
