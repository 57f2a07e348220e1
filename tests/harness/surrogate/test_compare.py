"""A wrong translation is refused, however small its scores; a right one passes, however large."""

import numpy as np
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from defenses import Pipeline
from harness.errors import SurrogateError
from harness.surrogate.compare import difference
from harness.surrogate.operators import OPERATORS, Operator
from harness.surrogate.surrogate import Surrogate
from models import GraphInput, Manifest, Scaling

GENERATOR = np.random.default_rng(7)
MANIFEST = Manifest(
    name="small",
    input=GraphInput(height_px=16, width_px=16),
    scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
    labels=tuple("abcde"),
)


def node(kind, given, made, **attributes):
    return helper.make_node(kind, given.split(), made.split(), **attributes)


def surrogate(size=1.0, before=()):
    """A convolution, a dilated pool and a linear layer with scores of about a size."""
    weights = {
        "kernel": GENERATOR.normal(0, 0.3, (6, 3, 3, 3)).astype(np.float32),
        "weights": (size * GENERATOR.normal(0, 1, (6, 5))).astype(np.float32),
        "step": np.float32(0.02),
        "zero": np.uint8(128),
    }
    nodes = [
        *before,
        node("Conv", "quantized kernel" if before else "input kernel", "conv"),
        node("MaxPool", "conv", "pool", kernel_shape=[2, 2], strides=[2, 2], dilations=[3, 3]),
        node("GlobalAveragePool", "pool", "mean"),
        node("Flatten", "mean", "flat"),
        node("MatMul", "flat weights", "logits"),
    ]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 5])],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Surrogate(MANIFEST, model.SerializeToString(), Pipeline(), device="cpu")


def translate(monkeypatch, kind, compute):
    own = OPERATORS[kind]
    monkeypatch.setitem(OPERATORS, kind, Operator(compute, own.attributes, own.host))


@pytest.mark.parametrize("size", [1e-6, 1e-4, 1, 1e4, 1e9])
def test_the_scores_size_does_not_matter(size, monkeypatch):
    assert surrogate(size).largest_difference < 1e-5
    translate(monkeypatch, "MaxPool", lambda _, x: functional.max_pool2d(x, 2, 2, 1)[..., :-1, :-1])
    with pytest.raises(SurrogateError, match=r"small is not the same .*: MaxPool \('pool'\)"):
        surrogate(size)


def test_scores_that_are_not_numbers_are_refused(monkeypatch):
    translate(monkeypatch, "MatMul", lambda _, left, right: left @ right * torch.nan)
    with pytest.raises(SurrogateError, match=r"MatMul \('logits'\) differs by up to nan"):
        surrogate()


def test_a_difference_is_a_fraction_of_the_spread():
    scores = np.array([[1, 5], [3, 6]], np.float32)
    assert difference(scores, scores) == 0
    assert difference(scores + np.float32(0.5), scores) == 0.25
    assert difference(scores * np.nan, scores) == np.inf
    assert difference(scores[:1] + 1, scores[:1]) == np.inf  # one image has no spread


QUANTIZED = [
    node("QuantizeLinear", "input step zero", "whole"),
    node("DequantizeLinear", "whole step zero", "quantized"),
]


def test_the_nodes_of_a_quantised_graph_are_compared(monkeypatch):
    surrogate(before=QUANTIZED)
    translate(monkeypatch, "QuantizeLinear", lambda _, x, step, zero: (x / step).round() + zero + 2)
    with pytest.raises(SurrogateError, match=r"QuantizeLinear \('whole'\) differs by up to 2"):
        surrogate(before=QUANTIZED)
