"""The files that the specifications of these tests name, a bank of patches and networks.

The tests run in the folder of the files, so that ``quilt(bank=bank.npz)`` can stand in a table.
"""

import os

import cv2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from defenses import patch_bank


def network(weights, sides=("h", "w"), channels_last=False, batch=1):
    """Return the bytes of a graph that convolves each channel with a (k, k) kernel."""
    side = len(weights)
    kernel = np.broadcast_to(np.asarray(weights, np.float32), (3, 1, side, side))
    pads = [side // 2] * 4
    shape = [batch, *sides, 3] if channels_last else [batch, 3, *sides]
    nodes = [helper.make_node("Conv", ["x", "kernel"], ["y"], group=3, pads=pads)]
    names = ("x", "y")
    if channels_last:
        nodes = [
            helper.make_node("Transpose", ["in"], ["x"], perm=[0, 3, 1, 2]),
            *nodes,
            helper.make_node("Transpose", ["y"], ["out"], perm=[0, 2, 3, 1]),
        ]
        names = ("in", "out")
    return graph(nodes, names, shape, [numpy_helper.from_array(kernel.copy(), "kernel")])


def graph(nodes, names, shape, constants=(), element=TensorProto.FLOAT, made=None):
    """Return the bytes of a graph; ``made`` is the shape of the output if the input has another."""
    read, written = names
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "network",
            [helper.make_tensor_value_info(read, element, shape)],
            [helper.make_tensor_value_info(written, element, shape if made is None else made)],
            list(constants),
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model.SerializeToString()


@pytest.fixture(scope="session")
def make_network():
    return network


@pytest.fixture(scope="session")
def make_graph():
    return graph


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Make the folder with ``bank.npz`` and ``blur.onnx``."""
    folder = tmp_path_factory.mktemp("files")
    noise = np.random.default_rng(0).integers(0, 256, (300, 300, 3), dtype=np.uint8)
    smooth = cv2.normalize(cv2.GaussianBlur(noise, (0, 0), 3), None, 0, 255, cv2.NORM_MINMAX)
    views = np.lib.stride_tricks.sliding_window_view(smooth, (5, 5), axis=(0, 1))
    patches = views[::5, ::5].reshape(-1, 3, 5, 5).transpose(0, 2, 3, 1)
    with (folder / "bank.npz").open("wb") as file:
        patch_bank.write(file, patches)
    (folder / "blur.onnx").write_bytes(network(np.full((3, 3), 1 / 9)))
    return folder


@pytest.fixture(scope="module", autouse=True)
def in_their_folder(files):
    """Run the tests of a module in the folder of the files."""
    before = os.getcwd()  # noqa: PTH109
    os.chdir(files)
    yield
    os.chdir(before)
