"""A classifier whose answers are known: the mean colour of a 32x32 image is its logits."""

from io import BytesIO

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from starlette.testclient import TestClient

from models import Classifier, GraphInput, Manifest, Resize, Scaling
from service.app import create_app
from service.settings import Settings

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def colour_graph() -> bytes:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def colour_manifest() -> Manifest:
    return Manifest(
        name="colours",
        input=GraphInput(height_px=32, width_px=32),
        resize=Resize(mode="squash"),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=tuple(COLOURS),
    )


def photograph(colour="red", size=(40, 48), kind="PNG", noise=12) -> bytes:
    generator = np.random.default_rng(len(colour))
    pixels = np.array(COLOURS[colour]) + generator.normal(0, noise, (*size, 3))
    buffer = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def make_photograph():
    return photograph


@pytest.fixture
def load_colours():
    """Gives the classifier, whose ``run`` a test may wrap."""
    return lambda: Classifier(colour_manifest(), colour_graph(), device="cpu", threads=1)


@pytest.fixture
def start(load_colours):
    """Start an application with some settings; returns a client once it is ready."""
    clients = []

    def started(load=load_colours, wait=True, **options) -> TestClient:
        given = {"allow_defense": "none fd rand", "max_batch": 4, "workers": 2, "threads": 1}
        app = create_app(Settings(**(given | options)), load)
        client = TestClient(app)
        client.__enter__()
        clients.append(client)
        while wait and client.get("/readyz").status_code != 200:
            assert app.state.warpguard.failure is None, app.state.warpguard.failure
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start):
    return start()
