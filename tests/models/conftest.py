import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import GraphInput, GraphOutput, Manifest, Scaling, Store

LABELS = ("cat", "dog", "fish", "bird", "worm")


def _classifier_graph(seed=0, *, layout="NCHW", classes=5, batch="batch", softmax=False):
    """Make a graph of some hundred bytes: the mean of each colour, then a linear layer."""
    weights = np.random.default_rng(seed).standard_normal((3, classes), dtype=np.float32)
    shape = [batch, 3, 16, 16] if layout == "NCHW" else [batch, 16, 16, 3]
    axes = [2, 3] if layout == "NCHW" else [1, 2]
    nodes = [
        helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0),
        helper.make_node("MatMul", ["means", "weights"], ["linear" if softmax else "logits"]),
    ]
    if softmax:
        nodes.append(helper.make_node("Softmax", ["linear"], ["logits"], axis=1))
    graph = helper.make_graph(
        nodes,
        "means",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [batch, classes])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array(axes, np.int64), "axes"),
        ],
    )
    return helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=onnx.IR_VERSION_2023_5_5
    )


@pytest.fixture
def tiny_graph():
    """A function that makes an ONNX file's bytes: a classifier of 16 × 16 images, five classes."""
    return lambda *args, **kwargs: _classifier_graph(*args, **kwargs).SerializeToString()


@pytest.fixture
def tiny_manifest():
    """A function that makes the manifest of a tiny graph."""

    def make(name="tiny", *, layout="NCHW", kind="logits", **fields):
        return Manifest(
            name=name,
            input=GraphInput(layout=layout, height_px=16, width_px=16),
            output=GraphOutput(kind=kind),
            scaling=Scaling(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5)),
            labels=LABELS,
            **fields,
        )

    return make


@pytest.fixture
def fresh_store(tmp_path):
    """An empty store."""
    return Store(tmp_path / "store")
