"""A tiny classifier, in PyTorch and on a server: its logits are ten times the mean colour."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper
from torch import nn

from models import GraphInput, Manifest, Resize, Scaling, Store
from warpguard import Client

ROOT = Path(__file__).parents[2]
SIZE_PX = 32


def colour_graph():
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["n", 3, SIZE_PX, SIZE_PX])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 3])],
        [helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


class Colours(nn.Module):
    def forward(self, images):
        return 10 * images.mean(dim=(2, 3))


@pytest.fixture
def colours():
    return Colours()


@pytest.fixture(scope="session")
def colour_client(serve, tmp_path_factory):
    """A client of a server of that classifier, which also allows no defence."""
    manifest = Manifest(
        name="colours",
        input=GraphInput(height_px=SIZE_PX, width_px=SIZE_PX),
        resize=Resize(mode="squash"),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=("red", "green", "blue"),
    )
    root = tmp_path_factory.mktemp("colours")
    Store(root).put(manifest, colour_graph())
    options = ("--store", str(root), "--model", "colours", "--allow-defense", "none")
    service, _ = serve(*options)
    with Client(service.url) as client:
        yield client


@pytest.fixture
def reddish():
    """``(4, 3, 32, 32)``, a little more red than green, and more green than blue."""
    generator = np.random.default_rng(1)
    mean = 0.5 + np.array([0.03, 0, -0.02])[:, None, None]
    values = mean + generator.normal(0, 0.05, (4, 3, SIZE_PX, SIZE_PX))
    return torch.from_numpy(np.clip(values, 0, 1).astype(np.float32))


@pytest.fixture(scope="session")
def installed(tmp_path_factory, pip_install):
    """A folder into which the package is installed, without what it depends on."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for name in ("defenses", "harness", "models", "service", "warpguard"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    pip_install(source, target)
    return target
