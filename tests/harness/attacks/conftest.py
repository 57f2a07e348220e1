"""Two 32 x 32 px classifiers that attacks can break: the mean colour, and a small network."""

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


def file_of(nodes, weights, side_px=32):
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "tiny",
            [
                helper.make_tensor_value_info(
                    "input", TensorProto.FLOAT, ["batch", 3, side_px, side_px]
                )
            ],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
            [numpy_helper.from_array(value, name) for name, value in weights.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


def colour_graph():
    """A graph whose logits are ten times the mean red, green and blue."""
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    return file_of(nodes, {"ten": np.array([10], np.float32)})


def network_graph(side_px=32):
    """A graph of one convolution and a linear layer over its mean. On grey all logits are equal."""
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
    grey = torch.full((1, 3, side_px, side_px), 0.5)
    conv = functional.conv2d(grey, torch.from_numpy(kernel), stride=2, padding=2)
    bias = -conv.relu().mean((2, 3)).numpy() @ weights
    return file_of(nodes, {"kernel": kernel, "weights": weights, "bias": bias[0]}, side_px)


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
    """A function that makes a surrogate of one of the two models with a defence."""
    return lambda defense="none", model="colour": bare(model).with_defense(Pipeline.parse(defense))


def photographs(count):
    """Make images of 8 bits with a little more red than green, and more green than blue."""
    generator = np.random.default_rng(1)
    for number in range(count):
        pixels = 0.5 + np.array([0.02, 0, -0.01]) + generator.normal(0, 0.05, (32, 32, 3))
        yield f"{number}.png", (np.rint(np.clip(pixels, 0, 1) * 255) / 255).astype(np.float32)


@pytest.fixture(scope="session")
def make_cases():
    """A function that makes cases: label and target are the bare model's first two classes."""

    def make(count=3, targeted=True, model="colour"):
        cases = []
        for name, image in photographs(count):
            *_, second, first = bare(model).probabilities([image])[0].argsort().tolist()
            cases.append(Case(name, image, first, second if targeted else None))
        return cases

    return make


@pytest.fixture(scope="session")
def successes():
    """A function that returns for each iterate the fraction of draws with a wanted class."""

    def measure(victim, cases, states, draws=20):
        fractions = []
        for case, state in zip(cases, states, strict=True):
            classes = victim.classes([state.adversarial] * draws)
            wanted = classes != case.label if case.target is None else classes == case.target
            fractions.append(float(np.mean(wanted)))
        return fractions

    return measure


class CountingVictim:
    """A victim that keeps every posted image, and counts the calls."""

    def __init__(self, victim):
        self.victim, self.posted, self.calls = victim, [], 0

    def classes(self, images):
        self.calls += 1
        self.posted += images
        return self.victim.classes(images)

    def probabilities(self, images, draws=1):
        self.calls += 1
        self.posted += [image for image in images for _ in range(draws)]
        return self.victim.probabilities(images, draws)


@pytest.fixture(scope="session")
def counting():
    """A function that wraps a victim so that it keeps every posted image."""
    return CountingVictim
