"""Build EfficientNet-Lite as an ONNX graph from a state dict of its PyTorch port.

It is EfficientNet (https://arxiv.org/abs/1905.11946, table 1) without squeeze-and-excitation and
with ReLU6 instead of swish, so that it quantises well. The first and the last stage, the stem and
the head do not scale with the variant. Reference:
https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite.
"""

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any

import onnx
from numpy.typing import NDArray

from models.errors import WeightsError
from models.feature_map import FeatureMap
from models.graph import Activation, GraphBuilder

# For each stage: repeats before scaling, kernel size, stride of the first block, expansion ratio.
_STAGES = (
    (1, 3, 1, 1),
    (2, 3, 2, 6),
    (2, 5, 2, 6),
    (3, 3, 2, 6),
    (3, 5, 1, 6),
    (4, 5, 2, 6),
    (1, 3, 1, 6),
)
# For Lite0 to Lite4. Lite1 and Lite2 have the same depth and differ in width.
_DEPTH_MULTIPLIERS = (1.0, 1.1, 1.2, 1.4, 1.8)
_EPS = 1e-3


def build_efficientnet_lite(
    weights: Mapping[str, NDArray[Any]], size_px: int = 299
) -> onnx.ModelProto:
    """Build EfficientNet-Lite0, 1, 2, 3 or 4. The weights give the number of blocks and the widths.

    Args:
        weights: floating-point tensors named as in
            https://github.com/ml-illustrated/EfficientNet-Lite-PyTorch: ``_conv_stem.weight``,
            ``_bn0.*``, ``_blocks.N.*``, ``_conv_head.weight``, ``_bn1.*`` and ``_fc.*``.
        size_px: height and width of the input. The convolutions are padded as TensorFlow pads them
            at this size.

    Returns:
        A graph from "input", FP32 of shape (batch, 3, size_px, size_px), RGB scaled to
        (pixel - 127) / 128, to "logits", FP32 of shape (batch, classes).

    Raises:
        WeightsError: a tensor is missing, superfluous or has a shape that does not fit.
    """
    numbers = {int(m[1]) for key in weights if (m := re.match(r"_blocks\.(\d{1,3})\.", key))}
    net = GraphBuilder("efficientnet-lite", weights, size_px)
    x = _conv(net, net.input, "_conv_stem", "_bn0", kernel=3, stride=2)
    for number, (kernel, stride, expansion) in enumerate(_blocks(len(numbers))):
        x = _block(net, x, f"_blocks.{number}", kernel, stride, expansion)
    x = _conv(net, x, "_conv_head", "_bn1")
    x = net.global_average_pool(x, "pool")
    return net.model(net.fully_connected(x, "_fc"))


def _blocks(count: int) -> Iterator[tuple[int, int, int]]:
    """Yield kernel size, stride and expansion ratio of each block of the variant with so many."""
    variants = {sum(repeats): repeats for repeats in map(_repeats, _DEPTH_MULTIPLIERS)}
    if count not in variants:
        raise WeightsError(
            f"EfficientNet-Lite has {', '.join(map(str, variants))} blocks, but the weights have "
            f"{count}"
        )
    for repeats, (_, kernel, stride, expansion) in zip(variants[count], _STAGES, strict=True):
        for position in range(repeats):
            yield kernel, stride if position == 0 else 1, expansion


def _repeats(depth_multiplier: float) -> tuple[int, ...]:
    scaled = [math.ceil(repeats * depth_multiplier) for repeats, *_ in _STAGES]
    return _STAGES[0][0], *scaled[1:-1], _STAGES[-1][0]


def _block(
    net: GraphBuilder, x: FeatureMap, name: str, kernel: int, stride: int, expansion: int
) -> FeatureMap:
    """Add an inverted residual block: expand, filter, project (https://arxiv.org/abs/1801.04381)."""
    y = x
    if expansion != 1:
        channels = x.channels * expansion
        y = _conv(net, y, f"{name}._expand_conv", f"{name}._bn0", channels=channels)
    y = _conv(
        net,
        y,
        f"{name}._depthwise_conv",
        f"{name}._bn1",
        channels=y.channels,
        kernel=kernel,
        stride=stride,
        groups=y.channels,
    )
    y = _conv(net, y, f"{name}._project_conv", f"{name}._bn2", activation=None)
    return net.add(x, y, f"{name}.add") if stride == 1 and x.channels == y.channels else y


def _conv(
    net: GraphBuilder,
    x: FeatureMap,
    name: str,
    norm: str,
    *,
    channels: int | None = None,
    kernel: int = 1,
    stride: int = 1,
    groups: int = 1,
    activation: Activation | None = "relu6",
) -> FeatureMap:
    return net.conv(
        x,
        name,
        norm,
        channels=channels,
        kernel=(kernel, kernel),
        stride=stride,
        padding="same",
        groups=groups,
        eps=_EPS,
        activation=activation,
    )
