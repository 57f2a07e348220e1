"""The surrogate: its losses, its knowledge of the defence, and the mean over draws."""

from random import Random

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from defenses import Pipeline
from harness.errors import SurrogateError
from harness.surrogate.fixed_draw import with_fixed_draw
from harness.surrogate.surrogate import Surrogate
from models import GraphInput, GraphOutput, Manifest, Scaling

GENERATOR = np.random.default_rng(4)
WEIGHTS = GENERATOR.normal(0, 0.05, (24 * 32 * 3, 5)).astype(np.float32)
IMAGE = GENERATOR.random((24, 32, 3), dtype=np.float32)
OTHER = GENERATOR.random((24, 32, 3), dtype=np.float32)


def linear_graph(layout="NCHW"):
    """A graph of five classes, linear in the pixels, so that every gradient is known."""
    shape = [3, 24, 32] if layout == "NCHW" else [24, 32, 3]
    given = "input" if layout == "NHWC" else "last"
    nodes = [
        helper.make_node("Flatten", [given], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    if layout == "NCHW":
        nodes.insert(0, helper.make_node("Transpose", ["input"], ["last"], perm=[0, 2, 3, 1]))
    graph = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *shape])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(WEIGHTS, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def manifest(layout="NCHW", kind="logits"):
    return Manifest(
        name="linear",
        input=GraphInput(height_px=24, width_px=32, layout=layout),
        output=GraphOutput(kind=kind),
        scaling=Scaling(mean=(51, 102, 0), std=(255, 127.5, 51)),
        labels=tuple("abcde"),
    )


def surrogate(defense="none", layout="NCHW"):
    torch.set_num_threads(1)
    return Surrogate(manifest(layout), linear_graph(layout), Pipeline.parse(defense), device="cpu")


def logits_of(image):
    scaled = (255 * image - np.array([51, 102, 0])) / np.array([255, 127.5, 51])
    return scaled.ravel() @ WEIGHTS.astype(np.float64)


def gradients(model, knowledge="bare", *, image=IMAGE, goal=2, seed=0, **options):
    found = model.gradients([image], [goal], [Random(seed)], knowledge=knowledge, **options)
    return found.values[0], float(found.losses[0])


def of_logit(goal):
    return WEIGHTS[:, goal].reshape(IMAGE.shape) * 255 / np.array([255, 127.5, 51], np.float32)


def known(loss):
    """Return a loss of the linear model, and its gradient."""
    logits = logits_of(IMAGE)
    shares = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    if loss == "cross-entropy":
        each = sum(shares[k] * of_logit(k) for k in range(5)) - of_logit(2)
        return -np.log(shares[2]), each
    if loss == "logit":
        return -logits[2], -of_logit(2)
    other = max((k for k in range(5) if k != 2), key=lambda k: logits[k])
    return logits[other] - logits[2], of_logit(other) - of_logit(2)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("targeted", [False, True])
@pytest.mark.parametrize("loss", ["cross-entropy", "logit", "margin"])
def test_each_loss_and_its_gradient_are_exact(loss, targeted, layout):
    value, gradient = known(loss)
    sign = 1 if targeted else -1
    found, own = gradients(surrogate(layout=layout), loss=loss, targeted=targeted)
    assert own == pytest.approx(sign * value, abs=1e-4)
    assert found == pytest.approx(sign * gradient, abs=1e-5)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_classes_probabilities_and_logits_are_exact(layout):
    model = surrogate(layout=layout)
    logits = np.stack([logits_of(IMAGE), logits_of(OTHER)])
    assert model.classes([IMAGE, OTHER]).tolist() == logits.argmax(axis=1).tolist()
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert model.probabilities([IMAGE, OTHER]) == pytest.approx(shares, abs=1e-5)
    posted = np.rint(IMAGE * 255).astype(np.uint8)
    assert model.probabilities([posted]) == pytest.approx(
        model.probabilities([posted / np.float32(255)]), abs=1e-6
    )
    pixels = torch.from_numpy(np.stack([IMAGE, OTHER])).permute(0, 3, 1, 2)
    assert model.module(pixels).numpy() == pytest.approx(logits, abs=1e-4)


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
def test_its_scores_are_those_of_onnx_runtime(layout):
    model = surrogate(layout=layout)
    images = [np.rint(each * 255).astype(np.uint8) for each in (IMAGE, OTHER)]
    model.check(images)
    assert model.largest_difference < 1e-4


def test_a_model_with_different_scores_is_refused():
    model = surrogate()
    with torch.no_grad():
        next(value for value in model.module.buffers() if value.shape == WEIGHTS.shape)[0, 0] += 1
    with pytest.raises(
        SurrogateError, match=r"linear is not the same in PyTorch .*: MatMul \('logits'\)"
    ):
        model.check([np.full((24, 32, 3), 200, np.uint8)])


def test_a_model_without_logits_is_refused():
    with pytest.raises(SurrogateError, match="linear outputs probabilities, but gradients need"):
        Surrogate(manifest(kind="probabilities"), linear_graph(), Pipeline(), device="cpu")


def drawn(operations, seed):
    """Return a pipeline, and the draw that a surrogate makes of it from a seed."""
    pipeline = Pipeline.parse(operations)
    return pipeline, pipeline.sample(Random(seed), IMAGE.shape)


@pytest.mark.parametrize("defense", ["fd", "rdg", "rand", "fd+rdg"])
@pytest.mark.parametrize("knowledge", ["bare", "identity", "random", "exact"])
def test_gradients_follow_the_knowledge_of_the_defence(knowledge, defense):
    names = defense.split("+")
    seen = {
        "bare": "none",
        "identity": defense,
        "exact": defense,
        "random": "+".join(name for name in names if name != "fd") or "none",
    }[knowledge]
    pipeline, draw = drawn(seen, 7)
    defended = pipeline.apply(IMAGE, draw)
    plain, value = gradients(surrogate(), image=defended)
    expected = plain if knowledge in ("bare", "identity") else pipeline.vjp(plain, draw)
    found, own = gradients(surrogate(defense), knowledge, seed=7)
    assert own == pytest.approx(value, abs=1e-4)
    assert found == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("defense", "random"),
    [
        ("none", ""),
        ("fd", ""),
        ("rdg", "identity random exact"),
        ("fd+rand", "identity random exact"),
    ],
)
def test_draws_differ_only_if_a_known_operation_is_random(defense, random):
    model = surrogate(defense)
    ways = ("bare", "identity", "random", "exact")
    assert [way for way in ways if model.is_random(way)] == random.split()
    for way in ways:
        one, other = (gradients(model, way, seed=seed)[0] for seed in (1, 2))
        assert np.array_equal(one, other) == (way not in random.split())


@pytest.mark.parametrize("draws", [2, 7, 40])
def test_a_gradient_is_the_mean_over_draws(draws):
    model, random = surrogate("rdg"), Random(5)
    each = []
    for _ in range(draws):  # each uses the next numbers of one generator
        found = model.gradients([IMAGE], [2], [random])
        each.append((found.values[0], found.losses[0]))
    gradient, loss = gradients(model, "exact", seed=5, draws=draws)
    assert loss == pytest.approx(float(np.mean([value for _, value in each])), abs=1e-4)
    assert gradient == pytest.approx(np.mean([values for values, _ in each], axis=0), abs=1e-5)


def test_each_image_has_its_own_goal_and_randomness():
    model = surrogate("rdg")
    both = model.gradients([IMAGE, OTHER], [2, 4], [Random(1), Random(2)], draws=20)
    one, _ = gradients(model, "exact", seed=1, draws=20)
    other, _ = gradients(model, "exact", image=OTHER, goal=4, seed=2, draws=20)
    assert both.values[0] == pytest.approx(one, abs=1e-6)
    assert both.values[1] == pytest.approx(other, abs=1e-6)


def test_each_answer_uses_a_fresh_draw():
    answers = surrogate("rdg").probabilities([IMAGE] * 8)
    assert len(np.unique(answers[:, 0])) > 1
    many = surrogate("rdg").probabilities([IMAGE, OTHER], draws=300)
    assert many.shape == (2, 5)
    assert many.sum(axis=1) == pytest.approx(1, abs=1e-5)
    more = surrogate("rdg").probabilities([IMAGE, OTHER], draws=300)
    assert many == pytest.approx(more, abs=0.25)


@pytest.mark.parametrize("defense", ["rdg", "rand", "fd+rdg"])
def test_a_defence_with_a_fixed_draw_always_gives_the_same_image(defense):
    model = surrogate().with_defense(with_fixed_draw(Pipeline.parse(defense)))
    assert np.ptp(model.probabilities([IMAGE] * 6), axis=0).max() < 1e-5
    one, other = (gradients(model, "exact", seed=seed)[0] for seed in (1, 2))
    assert np.array_equal(one, other)
    pipeline, draw = drawn(defense, 0)
    if "+" not in defense:
        assert np.array_equal(model.defense(IMAGE, Random(9)), pipeline.apply(IMAGE, draw))


def test_surrogates_with_different_defences_share_the_model():
    model = surrogate("rdg")
    other = model.with_defense(Pipeline())
    assert other.module is model.module
    assert str(model.defense) == "rdg"
    assert str(other.defense) == "none"
