"""Attacks on classifiers that fall: the mean colour of a 32 x 32 image, and a small network."""

from functools import cache

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional

from defenses import Pipeline
from harness.surrogate.surrogate import Surrogate
from harness.types import Case
from models import GraphInput, Manifest, Scaling


def file_of(nodes, weights):
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def colour_graph():
    """The logits are ten times the mean red, green and blue."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    return file_of(nodes, {"ten": np.array([10], np.float32)})


def network_graph():
    """One convolution, and a linear layer over its mean that is undecided about grey."""
    generator = np.random.default_rng(5)
    kernel = generator.normal(0, 0.3, (8, 3, 5, 5)).astype(np.float32)
    weights = generator.normal(0, 3, (8, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["input", "kernel"], ["conv"], strides=[2, 2], pads=[2, 2, 2, 2]),
        helper.make_node("Relu", ["conv"], ["relu"]),
        helper.make_node("GlobalAveragePool", ["relu"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
    ]
    grey = torch.full((1, 3, 32, 32), 0.5)
    conv = functional.conv2d(grey, torch.from_numpy(kernel), stride=2, padding=2)
    bias = -conv.relu().mean((2, 3)).numpy() @ weights
    return file_of(nodes, {"kernel": kernel, "weights": weights, "bias": bias[0]})


@cache
def bare(model):
    torch.set_num_threads(1)
    manifest = Manifest(
        name=model,
        input=GraphInput(height_px=32, width_px=32),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=("red", "green", "blue"),
    )
    graph = {"colour": colour_graph, "network": network_graph}[model]()
    return Surrogate(manifest, graph, Pipeline(), device="cpu")


@pytest.fixture(scope="session")
def surrogate():
    """One of the two models behind a defence."""
    return lambda defense="none", model="colour": bare(model).with_defense(Pipeline.parse(defense))


def photographs(count):
    """Of 8 bits, a little more red than green than blue."""
    generator = np.random.default_rng(1)
    for number in range(count):
        pixels = 0.5 + np.array([0.02, 0, -0.01]) + generator.normal(0, 0.05, (32, 32, 3))
        yield f"{number}.png", (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


@pytest.fixture(scope="session")
def make_cases():
    """Some photographs with the label that the bare model gives, and its second as the target."""

    def make(count=3, targeted=True, model="colour"):
        cases = []
        for name, image in photographs(count):
            *_, second, first = bare(model).probabilities([image])[0].argsort().tolist()
            cases.append(Case(name, image, first, second if targeted else None))
        return cases

    return make


@pytest.fixture(scope="session")
def successes():
    """The share of draws in which each iterate has the wanted class."""

    def share(victim, cases, states, draws=20):
        shares = []
        for case, state in zip(cases, states, strict=True):
            classes = victim.classes([state.adversarial] * draws)
            wanted = classes != case.label if case.target is None else classes == case.target
            shares.append(float(np.mean(wanted)))
        return shares

    return share
