import numpy as np
import pytest

from models import GraphInput, Manifest, Scaling
from models.graph import GraphBuilder

SIDE = 32


def _weights(name, shape):
    rng = np.random.default_rng(sum(name.encode()))
    shape = [size or 5 for size in shape]
    if name.endswith("running_var"):
        return np.ones(shape)
    if name.endswith("weight") and len(shape) > 1:
        return rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))
    return rng.standard_normal(shape) * 0.1 + name.endswith("bn.weight")


def _network():
    """An inverted residual block between a stem and a classifier, and the other kinds of nodes."""
    net = GraphBuilder("small", _weights, SIDE)
    conv = {"eps": 1e-3, "padding": "same"}
    x = net.conv(
        net.input, "stem", "stem.bn", channels=8, kernel=(3, 3), activation="relu6", **conv
    )
    y = net.conv(x, "expand", "expand.bn", channels=16, activation="relu6", **conv)
    y = net.conv(
        y, "depthwise", "depthwise.bn", channels=16, groups=16, kernel=(3, 3), activation="relu6",
        **conv,
    )  # fmt: skip
    y = net.conv(y, "project", "project.bn", channels=8, activation=None, **conv)
    x = net.add(x, y, "sum")
    x = net.concat([x, net.max_pool(x, "pool", kernel=3, stride=1, padding="same")], "both")
    x = net.average_pool(x, "average", kernel=2, stride=2, counts_padding=False)
    return net.model(net.fully_connected(net.global_average_pool(x, "mean"), "fc"))


@pytest.fixture(scope="session")
def network():
    """A small network in FP32 with five classes."""
    return _network()


@pytest.fixture(scope="session")
def small():
    """The manifest of the network."""
    return Manifest(
        name="small",
        input=GraphInput(height_px=SIDE, width_px=SIDE),
        scaling=Scaling(mean=(127.0, 127.0, 127.0), std=(128.0, 128.0, 128.0)),
        labels=("a", "b", "c", "d", "e"),
    )


@pytest.fixture(scope="session")
def tensors():
    """Sixty images of smooth colours and noise, as the network takes them."""
    rng = np.random.default_rng(0)
    colours = rng.uniform(-1, 1, (60, 3, 1, 1)) * np.linspace(0.2, 1, SIDE)
    noise = rng.standard_normal((60, 3, SIDE, SIDE)) * 0.1
    return (colours + noise).clip(-0.99, 1).astype(np.float32)
