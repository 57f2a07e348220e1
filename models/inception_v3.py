"""Build Inception V3 as an ONNX graph from a state dict in torchvision's and timm's naming.

The architecture is that of https://arxiv.org/abs/1512.00567, in the version of TensorFlow:
https://github.com/tensorflow/models/blob/master/research/slim/nets/inception_v3.py.
"""

import onnx

from models.feature_map import FeatureMap, Padding
from models.graph import GraphBuilder, Weights

_EPS = 1e-3
_Layer = tuple[int, tuple[int, int]]
"""A convolution's number of output channels, and its kernel's rows and columns."""

_1X1, _3X3, _5X5 = (1, 1), (3, 3), (5, 5)
_1X3, _3X1, _1X7, _7X1 = (1, 3), (3, 1), (1, 7), (7, 1)


def build_inception_v3(
    weights: Weights,
    *,
    average_pool_counts_padding: bool,
    size_px: int = 299,
) -> onnx.ModelProto:
    """Build Inception V3.

    Args:
        weights: floating-point tensors named as in torchvision's and timm's ``inception_v3``:
            ``Conv2d_1a_3x3.conv.weight``, ``Conv2d_1a_3x3.bn.bias``, ..., ``fc.bias``.
            ``AuxLogits.*`` is ignored because only training uses it. ``*.bn.weight`` may be missing
            because TensorFlow trains without it. It then counts as 1.
        average_pool_counts_padding: whether the 3 x 3 average pools inside the blocks count their
            padding as zeros. True for torchvision's and timm's graphs, False for the graphs of
            TensorFlow and Keras.
        size_px: height and width of the input, at least 75.

    Returns:
        A graph from "input", FP32 of shape (batch, 3, size_px, size_px), RGB scaled to
        (pixel / 255 - 0.5) / 0.5, to "logits", FP32 of shape (batch, classes). torchvision's
        weights fit this scaling: with ``transform_input=True``, torchvision undoes the
        normalisation with ImageNet's mean and standard deviation, and scales to this range.

    Raises:
        WeightsError: a tensor is missing, superfluous or has a shape that does not fit, or size_px
            is too small.
    """
    if not callable(weights):
        weights = {name: t for name, t in weights.items() if not name.startswith("AuxLogits.")}
    net = _Inception(weights, average_pool_counts_padding, size_px)
    x = net.conv(net.graph.input, "Conv2d_1a_3x3", 32, _3X3, stride=2, padding="valid")
    x = net.conv(x, "Conv2d_2a_3x3", 32, _3X3, padding="valid")
    x = net.conv(x, "Conv2d_2b_3x3", 64, _3X3)
    x = net.max_pool(x, "maxpool1")
    x = net.conv(x, "Conv2d_3b_1x1", 80, _1X1)
    x = net.conv(x, "Conv2d_4a_3x3", 192, _3X3, padding="valid")
    x = net.max_pool(x, "maxpool2")
    x = net.block_a(x, "Mixed_5b", pooled=32)
    x = net.block_a(x, "Mixed_5c", pooled=64)
    x = net.block_a(x, "Mixed_5d", pooled=64)
    x = net.block_b(x, "Mixed_6a")
    x = net.block_c(x, "Mixed_6b", inner=128)
    x = net.block_c(x, "Mixed_6c", inner=160)
    x = net.block_c(x, "Mixed_6d", inner=160)
    x = net.block_c(x, "Mixed_6e", inner=192)
    x = net.block_d(x, "Mixed_7a")
    x = net.block_e(x, "Mixed_7b")
    x = net.block_e(x, "Mixed_7c")
    x = net.graph.global_average_pool(x, "avgpool")
    return net.graph.model(net.graph.fully_connected(x, "fc"))


class _Inception:
    """The network's blocks, A to E in torchvision's terms. Each concatenates its branches."""

    def __init__(self, weights: Weights, counts_padding: bool, size_px: int) -> None:
        self.graph = GraphBuilder("inception_v3", weights, size_px)
        self._counts_padding = counts_padding

    def block_a(self, x: FeatureMap, name: str, pooled: int) -> FeatureMap:
        return self._join(
            name,
            self._branch(x, f"{name}.branch1x1", (64, _1X1)),
            self._branch(x, f"{name}.branch5x5", (48, _1X1), (64, _5X5)),
            self._branch(x, f"{name}.branch3x3dbl", (64, _1X1), (96, _3X3), (96, _3X3)),
            self._pooled_branch(x, f"{name}.branch_pool", pooled),
        )

    def block_b(self, x: FeatureMap, name: str) -> FeatureMap:
        return self._join(
            name,
            self._branch(x, f"{name}.branch3x3", (384, _3X3), halve=True),
            self._branch(x, f"{name}.branch3x3dbl", (64, _1X1), (96, _3X3), (96, _3X3), halve=True),
            self.max_pool(x, f"{name}.branch_pool"),
        )

    def block_c(self, x: FeatureMap, name: str, inner: int) -> FeatureMap:
        return self._join(
            name,
            self._branch(x, f"{name}.branch1x1", (192, _1X1)),
            self._branch(x, f"{name}.branch7x7", (inner, _1X1), (inner, _1X7), (192, _7X1)),
            self._branch(
                x,
                f"{name}.branch7x7dbl",
                (inner, _1X1),
                (inner, _7X1),
                (inner, _1X7),
                (inner, _7X1),
                (192, _1X7),
            ),
            self._pooled_branch(x, f"{name}.branch_pool", 192),
        )

    def block_d(self, x: FeatureMap, name: str) -> FeatureMap:
        return self._join(
            name,
            self._branch(x, f"{name}.branch3x3", (192, _1X1), (320, _3X3), halve=True),
            self._branch(
                x,
                f"{name}.branch7x7x3",
                (192, _1X1),
                (192, _1X7),
                (192, _7X1),
                (192, _3X3),
                halve=True,
            ),
            self.max_pool(x, f"{name}.branch_pool"),
        )

    def block_e(self, x: FeatureMap, name: str) -> FeatureMap:
        single = self.conv(x, f"{name}.branch3x3_1", 384, _1X1)
        double = self._branch(x, f"{name}.branch3x3dbl", (448, _1X1), (384, _3X3))
        return self._join(
            name,
            self._branch(x, f"{name}.branch1x1", (320, _1X1)),
            self.conv(single, f"{name}.branch3x3_2a", 384, _1X3),
            self.conv(single, f"{name}.branch3x3_2b", 384, _3X1),
            self.conv(double, f"{name}.branch3x3dbl_3a", 384, _1X3),
            self.conv(double, f"{name}.branch3x3dbl_3b", 384, _3X1),
            self._pooled_branch(x, f"{name}.branch_pool", 192),
        )

    def conv(
        self,
        x: FeatureMap,
        name: str,
        channels: int,
        kernel: tuple[int, int],
        *,
        stride: int = 1,
        padding: Padding = "same",
    ) -> FeatureMap:
        return self.graph.conv(
            x,
            f"{name}.conv",
            f"{name}.bn",
            channels=channels,
            kernel=kernel,
            stride=stride,
            padding=padding,
            eps=_EPS,
            scaled=False,
            activation="relu",
        )

    def max_pool(self, x: FeatureMap, name: str) -> FeatureMap:
        return self.graph.max_pool(x, name, kernel=3, stride=2)

    def _branch(self, x: FeatureMap, name: str, *layers: _Layer, halve: bool = False) -> FeatureMap:
        """Add convolutions in a row, numbered from 1 if there are several. The last may halve."""
        names = [f"{name}_{n + 1}" for n in range(len(layers))] if len(layers) > 1 else [name]
        *inner, last = zip(names, layers, strict=True)
        for layer_name, layer in inner:
            x = self.conv(x, layer_name, *layer)
        layer_name, layer = last
        if halve:
            return self.conv(x, layer_name, *layer, stride=2, padding="valid")
        return self.conv(x, layer_name, *layer)

    def _pooled_branch(self, x: FeatureMap, name: str, channels: int) -> FeatureMap:
        pooled = self.graph.average_pool(
            x,
            f"{name}.average",
            kernel=3,
            stride=1,
            padding="same",
            counts_padding=self._counts_padding,
        )
        return self._branch(pooled, name, (channels, _1X1))

    def _join(self, name: str, *branches: FeatureMap) -> FeatureMap:
        return self.graph.concat(branches, name)
