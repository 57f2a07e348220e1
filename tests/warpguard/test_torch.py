"""The defence in PyTorch: its values and gradients are those of the pipeline, in batches."""

import copy
import pickle
from random import Random

import numpy as np
import pytest
import torch
from torch import nn

from defenses import DefenseError, ImageError, Pipeline
from warpguard.torch import Defended, Defense, defend

SPECIFICATIONS = ["fd", "rdg", "fd+rdg", "fd+rand", "fd(phase=random)*2+rdg", "jpeg+crop", "none"]


def batch(n=3, height=40, width=33, **options):
    values = np.random.default_rng(0).random((n, 3, height, width)).astype(np.float32)
    return torch.from_numpy(values).to(**options)


def hwc(image):
    return np.ascontiguousarray(image.detach().float().cpu().numpy().transpose(1, 2, 0))


@pytest.fixture(params=[1, 2])
def threads(request):
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@pytest.fixture
def classifier():
    torch.manual_seed(0)
    return nn.Sequential(nn.AvgPool2d(8), nn.Flatten(), nn.LazyLinear(5)).eval()


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize("draws", [1, 3])
def test_values_and_gradients_are_those_of_the_pipeline(specification, draws, threads):
    pipeline, layer = Pipeline.parse(specification), Defense(specification)
    images = batch().requires_grad_()
    rows = layer.sample(images, draws)
    defended = layer(images, rows)
    weights = torch.randn(defended.shape, generator=torch.Generator().manual_seed(1))
    (gradient,) = torch.autograd.grad((defended * weights).sum(), images)
    assert defended.shape == (3 * draws, 3, 40, 33)
    for index in range(3):
        expected = np.zeros((40, 33, 3), np.float32)
        for row in range(draws * index, draws * (index + 1)):
            wanted = pipeline.apply(hwc(images[index]), rows[row])
            assert np.array_equal(hwc(defended[row]), wanted)
            expected += pipeline.vjp(hwc(weights[row]), rows[row])
        assert hwc(gradient[index]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_any_floating_dtype(dtype):
    images = batch(dtype=dtype).requires_grad_()
    defended = Defense("fd+rdg")(images)
    (gradient,) = torch.autograd.grad(defended.sum(), images)
    assert defended.dtype == gradient.dtype == dtype
    assert 0 <= defended.detach().min() <= defended.detach().max() <= 1


def test_a_double_gradient_keeps_its_precision():
    layer, images = Defense("rdg"), batch(dtype=torch.float64).requires_grad_()
    rows = layer.sample(images)
    weights = torch.rand(images.shape, dtype=torch.float64)
    (gradient,) = torch.autograd.grad((layer(images, rows) * weights).sum(), images)
    expected = layer.defense.vjp(weights[0].permute(1, 2, 0).contiguous().numpy(), rows[0])
    assert gradient[0].permute(1, 2, 0).numpy() == pytest.approx(expected, abs=1e-12)


def test_each_image_gets_its_own_fresh_draw():
    images = batch(1).repeat(2, 1, 1, 1)
    layer = Defense("rdg")
    one, other = layer(images)
    assert not torch.equal(one, other)
    assert not torch.equal(layer(images)[0], one)


@pytest.mark.parametrize("make", [Random, lambda seed: torch.Generator().manual_seed(seed)])
def test_a_generator_makes_draws_repeatable(make):
    images = batch()
    one, other, different = (Defense("rdg", generator=make(seed))(images) for seed in (7, 7, 8))
    assert torch.equal(one, other)
    assert not torch.equal(one, different)


def test_without_a_generator_a_seed_of_pytorch_changes_nothing():
    torch.manual_seed(0)
    one = Defense("rdg")(batch())
    torch.manual_seed(0)
    assert not torch.equal(one, Defense("rdg")(batch()))


def test_the_identity_and_no_gradient(classifier):
    images = batch()
    classifier(images)
    for gradient in ("exact", "identity", "none"):
        model = Defended(classifier, "rdg", gradient=gradient, generator=Random(0))
        given = images.clone().requires_grad_()
        logits = model(given)
        logits[:, 0].sum().backward()
        assert classifier[2].weight.grad is not None  # the classifier can be trained in any case
        if gradient == "none":
            assert given.grad is None
            continue
        defended = model.defense(images, [model.sample(images)[0]] * 3).requires_grad_()
        classifier(defended)[:, 0].sum().backward()
        behind = torch.equal(given.grad, defended.grad)  # the classifier is linear
        assert behind == (gradient == "identity")


def test_several_draws_give_the_mean_probabilities(classifier):
    images = batch(2)
    classifier(images)
    model = Defended(classifier, "fd+rdg", draws=4)
    rows = model.sample(images)
    assert len(rows) == 8
    defended = defend(images, model.defense.defense, rows)
    by_draw = classifier(defended).softmax(dim=1)
    expected = by_draw.unflatten(0, (2, 4)).mean(dim=1)
    assert torch.allclose(model(images, rows).softmax(dim=1), expected, atol=1e-6)
    assert torch.allclose(model(images, rows).exp().sum(dim=1), torch.ones(2), atol=1e-6)
    probabilities = Defended(
        nn.Sequential(classifier, nn.Softmax(dim=1)), "fd+rdg", draws=4, outputs="probabilities"
    )
    assert torch.allclose(probabilities(images, rows), expected, atol=1e-6)
    one = Defended(classifier, "fd+rdg")
    assert torch.equal(one(images, rows[::4]), classifier(defended[::4]))


def test_the_fixed_part_is_applied_once_for_all_draws(monkeypatch):
    calls = []
    kind = type(Pipeline.parse("fd").operations[0])
    original = kind._apply
    monkeypatch.setattr(
        kind, "_apply", lambda self, *rest: (calls.append(1), original(self, *rest))[1]
    )
    images = batch(2)
    layer = Defense("fd+rdg")
    layer(images, layer.sample(images, 5))
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (batch() * 255, r"in \[0, 1\]; this one has values from .* divide by 255"),
        (batch() * 4 - 2, "scale or clip"),
        (batch() * torch.nan, "a NaN"),
        (torch.zeros(1, 3, 9, 9, dtype=torch.uint8), r"not torch.uint8: divide by 255"),
        (batch()[0], r"the shape \(N, 3, H, W\), not \(3, 40, 33\)"),
        (batch().permute(0, 2, 3, 1), r"\(N, 3, H, W\), not \(3, 40, 33, 3\)"),
        (batch(height=4), "at least 8 x 8 px"),
    ],
)
def test_other_tensors_are_refused(images, message, threads):
    with pytest.raises(ImageError, match=message):
        Defense("fd")(images)


def test_other_arguments_are_refused(classifier):
    with pytest.raises(DefenseError, match="Unknown defence 'nothing'"):
        Defense("nothing")
    with pytest.raises(ValueError, match="gradient must be one of exact, identity, none, not 'no'"):
        Defense("fd", gradient="no")
    with pytest.raises(ValueError, match="draws must be 1 or more"):
        Defended(classifier, draws=0)
    with pytest.raises(ValueError, match="outputs must be one of logits, probabilities"):
        Defended(classifier, outputs="scores")
    layer = Defense("rdg")
    for rows in ([], layer.sample(batch(2))):
        with pytest.raises(ValueError, match="as many draws for each image"):
            layer(batch(3), rows)
    with pytest.raises(ImageError, match="draw is for images of"):
        layer(batch(3), layer.sample(batch(3, height=41)))


def test_an_empty_batch_is_classified(classifier):
    assert Defended(classifier, draws=1)(torch.zeros(0, 3, 40, 33)).shape == (0, 5)


def test_it_is_a_module_like_others(classifier):
    classifier(batch())
    model = Defended(classifier, "fd+rdg", draws=2)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert other(batch()).shape == (3, 5)
        assert other.state_dict().keys() == {"module.2.weight", "module.2.bias"}
    assert "'fd+rdg', gradient='exact'" in repr(model)
