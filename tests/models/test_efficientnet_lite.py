"""EfficientNet-Lite's graph computes what an independent forward pass in torch computes."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray

from models import CATALOG, WeightsError
from models.efficientnet_lite import build_efficientnet_lite
from models.weights import read_weights

State = dict[str, NDArray[np.float32]]

# Blocks per stage of Lite0 to Lite4, as in the reference implementation.
REPEATS = {
    "lite0": (1, 2, 2, 3, 3, 4, 1),
    "lite1": (1, 3, 3, 4, 4, 5, 1),
    "lite2": (1, 3, 3, 4, 4, 5, 1),
    "lite3": (1, 3, 3, 5, 5, 6, 1),
    "lite4": (1, 4, 4, 6, 6, 8, 1),
}
STRIDES = (1, 2, 2, 2, 1, 2, 1)
KERNELS = (3, 3, 5, 3, 5, 5, 3)


def forward(state: State, repeats: tuple[int, ...], x: NDArray[np.float32]) -> NDArray[np.float32]:
    """Run the network as TensorFlow does, with nothing folded, and without the graph's code."""
    tensors = {name: torch.from_numpy(value) for name, value in state.items()}

    def conv_bn(x: torch.Tensor, conv: str, norm: str, stride: int = 1, groups: int = 1):
        weight = tensors[f"{conv}.weight"]
        pads = []
        for size, kernel in zip(reversed(x.shape[2:]), reversed(weight.shape[2:]), strict=True):
            made = -(-size // stride)
            total = max((made - 1) * stride + kernel - size, 0)
            pads += [total // 2, total - total // 2]
        y = F.conv2d(F.pad(x, pads), weight, stride=stride, groups=groups)
        keys = ("running_mean", "running_var", "weight", "bias")
        return F.batch_norm(y, *(tensors[f"{norm}.{key}"] for key in keys), eps=1e-3)

    strides = [
        stride if first else 1
        for stride, count in zip(STRIDES, repeats, strict=True)
        for first in [True] + [False] * (count - 1)
    ]
    x = F.relu6(conv_bn(torch.from_numpy(x), "_conv_stem", "_bn0", stride=2))
    for number, stride in enumerate(strides):
        block, y = f"_blocks.{number}", x
        if number > 0:
            y = F.relu6(conv_bn(y, f"{block}._expand_conv", f"{block}._bn0"))
        y = conv_bn(y, f"{block}._depthwise_conv", f"{block}._bn1", stride, groups=y.shape[1])
        y = conv_bn(F.relu6(y), f"{block}._project_conv", f"{block}._bn2")
        x = x + y if y.shape == x.shape else y
    x = F.relu6(conv_bn(x, "_conv_head", "_bn1")).mean((2, 3))
    return F.linear(x, tensors["_fc.weight"], tensors["_fc.bias"]).numpy()


def random_state(repeats: tuple[int, ...]) -> State:
    """Make weights of a thin network of this depth, whose activations neither die nor explode."""
    rng = np.random.default_rng(11)
    state = {}

    def conv_bn(conv: str, norm: str, *shape: int) -> None:
        fan_in = int(np.prod(shape[1:]))
        state[f"{conv}.weight"] = rng.normal(0, (2 / fan_in) ** 0.5, shape)
        state[f"{norm}.weight"] = rng.uniform(0.7, 1.3, shape[0])
        state[f"{norm}.bias"] = rng.normal(0.2, 0.2, shape[0])
        state[f"{norm}.running_mean"] = rng.normal(0, 0.2, shape[0])
        state[f"{norm}.running_var"] = rng.uniform(0.5, 1.5, shape[0])
        state[f"{norm}.num_batches_tracked"] = np.array(7)

    conv_bn("_conv_stem", "_bn0", 8, 3, 3, 3)
    width, number = 8, 0
    for stage, count in enumerate(repeats):
        for _ in range(count):
            block, inner = f"_blocks.{number}", width if number == 0 else 6 * width
            if number > 0:
                conv_bn(f"{block}._expand_conv", f"{block}._bn0", inner, width, 1, 1)
            kernel = KERNELS[stage]
            conv_bn(f"{block}._depthwise_conv", f"{block}._bn1", inner, 1, kernel, kernel)
            width = 6 + 2 * stage
            conv_bn(f"{block}._project_conv", f"{block}._bn2", width, inner, 1, 1)
            number += 1
    conv_bn("_conv_head", "_bn1", 32, width, 1, 1)
    state |= {"_fc.weight": rng.normal(0, 0.5, (10, 32)), "_fc.bias": rng.normal(0, 0.1, 10)}
    return {name: np.asarray(value, np.float32) for name, value in state.items()}


def images(batch: int, size: int) -> NDArray[np.float32]:
    """Make images of noise of different strengths around different greys, in [-127/128, 1]."""
    rng = np.random.default_rng(batch * size)
    grey = rng.uniform(-0.6, 0.6, (batch, 3, 1, 1))
    noise = rng.uniform(-1, 1, (batch, 3, size, size)) * rng.uniform(0.1, 1, (batch, 1, 1, 1))
    return np.clip(grey + noise, -127 / 128, 1).astype(np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (logits,) = session.run(["logits"], {"input": x})
    return logits


def relative_error(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def packaged(variant: str) -> State:
    entry = CATALOG[f"efficientnet-{variant}"]
    return read_weights(entry.weights.path, trusted=entry.accepted)


@pytest.fixture(scope="module")
def lite0() -> State:
    return packaged("lite0")


@pytest.mark.parametrize(("batch", "size"), [(1, 299), (3, 299), (1, 224), (3, 97)])
def test_lite0_equals_torch(lite0, batch, size):
    x = images(batch, size)
    expected = forward(lite0, REPEATS["lite0"], x)
    logits = run(build_efficientnet_lite(lite0, size), x)
    assert logits.shape == (batch, 1000)
    assert expected.std() > 0.5
    assert relative_error(logits, expected) < 1e-4


def test_lite2_equals_torch():
    lite2, x = packaged("lite2"), images(1, 299)
    logits = run(build_efficientnet_lite(lite2), x)
    assert relative_error(logits, forward(lite2, REPEATS["lite2"], x)) < 1e-4


@pytest.mark.parametrize("variant", REPEATS)
def test_every_depth_equals_torch(variant):
    state, x = random_state(REPEATS[variant]), images(2, 65)
    expected = forward(state, REPEATS[variant], x)
    assert np.abs(expected[0] - expected[1]).max() > 0.05 * np.abs(expected).max()
    assert relative_error(run(build_efficientnet_lite(state, 65), x), expected) < 1e-4


def test_interface(lite0):
    model = build_efficientnet_lite(lite0)
    (given,), (made,) = model.graph.input, model.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (given, made)
    ]
    assert (given.name, made.name) == ("input", "logits")
    assert shapes == [["batch", 3, 299, 299], ["batch", 1000]]
    operators = [node.op_type for node in model.graph.node]
    # 16 blocks of two or three convolutions, the stem and the head; nine blocks add their input.
    assert {name: operators.count(name) for name in ("Conv", "Clip", "Add")} == {
        "Conv": 49,
        "Clip": 33,
        "Add": 9,
    }


@pytest.mark.parametrize("count", [0, 1, 15, 17])
def test_another_number_of_blocks_is_refused(lite0, count):
    def block(name: str) -> int:
        return int(name.split(".")[1]) if name.startswith("_blocks.") else -1

    state = {name: value for name, value in lite0.items() if block(name) < count}
    if count == 17:
        state |= {
            name.replace("_blocks.15.", "_blocks.16."): value
            for name, value in lite0.items()
            if block(name) == 15
        }
    message = f"has 16, 21, 24, 30 blocks, but the weights have {count}$"
    with pytest.raises(WeightsError, match=message):
        build_efficientnet_lite(state)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("_conv_stem.weight", (32, 4, 3, 3), r"\(any, 3, 3, 3\)"),
        ("_blocks.3._depthwise_conv.weight", (144, 1, 3, 3), r"\(144, 1, 5, 5\)"),
        ("_blocks.5._expand_conv.weight", (239, 40, 1, 1), r"\(240, 40, 1, 1\)"),
        ("_blocks.9._project_conv.weight", (112, 671, 1, 1), r"\(any, 672, 1, 1\)"),
        ("_blocks.15._bn2.running_mean", (321,), r"\(320\)"),
        ("_fc.weight", (1000, 1279), r"\(any, 1280\)"),
        ("_fc.bias", (999,), r"\(1000\)"),
    ],
)
def test_missing_or_misshapen_tensor_is_named(lite0, name, shape, expected):
    without = {key: value for key, value in lite0.items() if key != name}
    with pytest.raises(WeightsError, match=f"needs the tensor {name}, which is missing"):
        build_efficientnet_lite(without)
    with pytest.raises(WeightsError, match=f"{name} has the shape .*, expected {expected}"):
        build_efficientnet_lite({**lite0, name: np.zeros(shape, np.float32)})


def test_full_efficientnet_is_refused(lite0):
    """It has the same blocks and also squeezes and excites, which must not be left out silently."""
    state = {**lite0, "_blocks.0._se_reduce.weight": np.zeros((8, 32, 1, 1), np.float32)}
    with pytest.raises(WeightsError, match=r"no place for .* _blocks\.0\._se_reduce\.weight"):
        build_efficientnet_lite(state)
