"""Build an ONNX graph of a convolutional classifier from named weights, checked as it grows.

Every step knows the channels and the spatial size of its input and its output. If a tensor does not
fit, the builder reports its name and both shapes, before ONNX Runtime loads the graph.
Operators: https://onnx.ai/onnx/operators/.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from models.errors import WeightsError
from models.feature_map import FeatureMap, Padding, window

# The versions of ONNX 1.12 (2022), so that every ONNX Runtime since 1.12 reads the graph:
# https://onnxruntime.ai/docs/reference/compatibility.html
_OPSET = 17
_IR_VERSION = 8

Shape = tuple[int | None, ...]
"""The sizes of a tensor; None stands for any size but 0."""
Weights = Mapping[str, NDArray[Any]] | Callable[[str, Shape], NDArray[Any]]
"""Floating-point tensors by name, in torch's layouts, or a function from name and shape."""
Activation = Literal["relu", "relu6"]


@dataclass(frozen=True)
class Scores:
    """A value of the graph of shape (batch, classes), FP32."""

    name: str
    classes: int


class GraphBuilder:
    """Adds layers one after another, then makes the model.

    Attributes:
        input: the graph's input, "input", of shape (batch, 3, size_px, size_px) with any batch
            size.
    """

    def __init__(self, name: str, weights: Weights, size_px: int) -> None:
        """Start a graph.

        Args:
            name: the graph's name.
            weights: the tensors by name, or a function that makes a tensor from its name and shape.
                The function makes a network of random weights possible.
            size_px: height and width of the input.
        """
        self.input = FeatureMap("input", 3, size_px, size_px)
        self._name = name
        self._weights = weights
        self._unused: set[str] = set() if callable(weights) else set(weights)
        self._nodes: list[onnx.NodeProto] = []
        self._initializers: dict[str, onnx.TensorProto] = {}

    def conv(
        self,
        x: FeatureMap,
        name: str,
        norm: str,
        *,
        channels: int | None = None,
        kernel: tuple[int, int] = (1, 1),
        stride: int = 1,
        padding: Padding = "valid",
        groups: int = 1,
        eps: float,
        scaled: bool = True,
        activation: Activation | None,
    ) -> FeatureMap:
        """Add a convolution without bias, the batch normalisation after it, and an activation.

        At inference, the normalisation is an affine map per channel, so it is folded into the
        convolution (https://arxiv.org/abs/1712.05877, section 3.2). With
        s = gamma / sqrt(var + eps), in double precision, the weight becomes s * weight and the bias
        becomes beta - s * mean.

        Args:
            x: the map to convolve.
            name: the convolution's name. Its weight is the tensor ``name.weight`` of shape
                (channels, x.channels / groups, *kernel).
            norm: the normalisation's name. Its tensors are ``norm.weight`` (gamma), ``norm.bias``
                (beta), ``norm.running_mean`` and ``norm.running_var``, of shape (channels,).
            channels: the number of output channels; None takes the weight's number.
            kernel: the kernel's rows and columns.
            stride: the stride along both axes.
            padding: the padding with zeros.
            groups: ``x.channels`` for a depthwise convolution.
            eps: the value that the normalisation adds to the variance.
            scaled: False if the normalisation may have been trained without gamma. A missing gamma
                then counts as 1.
            activation: ``"relu"``, ``"relu6"`` (min(max(x, 0), 6)) or None.

        Raises:
            WeightsError: a tensor is missing or has another shape, or folding gives numbers that
                are not finite, or the kernel is larger than the padded input.
        """
        weight = self._take(f"{name}.weight", (channels, x.channels // groups, *kernel))
        channels = len(weight)
        mean = self._take(f"{norm}.running_mean", (channels,))
        variance = self._take(f"{norm}.running_var", (channels,))
        beta = self._take(f"{norm}.bias", (channels,))
        has_gamma = scaled or (not callable(self._weights) and f"{norm}.weight" in self._weights)
        gamma = self._take(f"{norm}.weight", (channels,)) if has_gamma else np.ones(channels)
        if not (np.isfinite(variance) & (variance + eps > 0)).all():
            raise WeightsError(f"The tensor {norm}.running_var has values that are not variances")
        with np.errstate(over="ignore", invalid="ignore"):  # _constant checks the result
            scale = gamma / np.sqrt(variance + eps)
            folded_weight, folded_bias = weight * scale[:, None, None, None], beta - mean * scale
        inputs = [
            x.name,
            self._constant(f"{name}.weight", folded_weight),
            self._constant(f"{name}.bias", folded_bias),
        ]
        attributes, height, width = window(name, x, kernel, stride, padding)
        self._add("Conv", inputs, name, group=groups, **attributes)
        return FeatureMap(self._activate(name, activation), channels, height, width)

    def add(self, a: FeatureMap, b: FeatureMap, name: str) -> FeatureMap:
        """Add two maps of the same shape, element by element.

        Raises:
            WeightsError: their shapes differ.
        """
        if _shape(a) != _shape(b):
            raise WeightsError(f"{name} adds {b.name} {_shape(b)} to {a.name} {_shape(a)}")
        self._add("Add", [a.name, b.name], name)
        return FeatureMap(name, *_shape(a))

    def concat(self, maps: Sequence[FeatureMap], name: str) -> FeatureMap:
        """Concatenate maps of the same height and width along the channels.

        Raises:
            WeightsError: their heights or widths differ.
        """
        sizes = {_shape(x)[1:] for x in maps}
        if len(sizes) != 1:
            raise WeightsError(f"{name} concatenates maps of the sizes {sorted(sizes)}")
        self._add("Concat", [x.name for x in maps], name, axis=1)
        return FeatureMap(name, sum(x.channels for x in maps), *sizes.pop())

    def max_pool(
        self, x: FeatureMap, name: str, *, kernel: int, stride: int, padding: Padding = "valid"
    ) -> FeatureMap:
        """Take the maximum of each square window. Padding is never the maximum.

        Raises:
            WeightsError: the window is larger than the padded input.
        """
        attributes, height, width = window(name, x, (kernel, kernel), stride, padding)
        self._add("MaxPool", [x.name], name, **attributes)
        return FeatureMap(name, x.channels, height, width)

    def average_pool(
        self,
        x: FeatureMap,
        name: str,
        *,
        kernel: int,
        stride: int,
        padding: Padding = "valid",
        counts_padding: bool,
    ) -> FeatureMap:
        """Average each square window.

        Args:
            x: the map to pool.
            name: the new value's name.
            kernel: the window's rows and columns.
            stride: the stride along both axes.
            padding: the padding with zeros.
            counts_padding: True if padding counts as values of 0 (torch's default), False if the
                average is over the window's real values only (TensorFlow).

        Raises:
            WeightsError: the window is larger than the padded input.
        """
        attributes, height, width = window(name, x, (kernel, kernel), stride, padding)
        attributes["count_include_pad"] = int(counts_padding)
        self._add("AveragePool", [x.name], name, **attributes)
        return FeatureMap(name, x.channels, height, width)

    def global_average_pool(self, x: FeatureMap, name: str) -> FeatureMap:
        """Average over height and width."""
        self._add("GlobalAveragePool", [x.name], name)
        return FeatureMap(name, x.channels, 1, 1)

    def fully_connected(self, x: FeatureMap, name: str) -> Scores:
        """Add the classifier: ``name.weight`` of shape (classes, features) and ``name.bias``.

        Raises:
            WeightsError: a tensor is missing or has another shape.
        """
        weight = self._take(f"{name}.weight", (None, x.channels * x.height * x.width))
        bias = self._take(f"{name}.bias", (len(weight),))
        self._add("Flatten", [x.name], f"{name}.features", axis=1)
        inputs = [
            f"{name}.features",
            self._constant(f"{name}.weight", weight),
            self._constant(f"{name}.bias", bias),
        ]
        self._add("Gemm", inputs, "logits", transB=1)
        return Scores("logits", len(weight))

    def model(self, scores: Scores) -> onnx.ModelProto:
        """Make the model whose output is ``scores``. Equal weights give equal bytes.

        Raises:
            WeightsError: the graph has not used some tensors (apart from ``num_batches_tracked``),
                so they belong to another architecture.
        """
        unused = sorted(key for key in self._unused if not key.endswith(".num_batches_tracked"))
        if unused:
            raise WeightsError(
                f"{self._name} has no place for {len(unused)} of the tensors: "
                f"{', '.join(unused[:3])}{', ...' if len(unused) > 3 else ''}"
            )
        size = (self.input.channels, self.input.height, self.input.width)
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", *size])],
            [
                helper.make_tensor_value_info(
                    scores.name, TensorProto.FLOAT, ["batch", scores.classes]
                )
            ],
            list(self._initializers.values()),
        )
        model = helper.make_model(
            graph,
            producer_name="warpguard",
            ir_version=_IR_VERSION,
            opset_imports=[helper.make_opsetid("", _OPSET)],
        )
        onnx.checker.check_model(model, full_check=True)
        return model

    def _take(self, name: str, shape: Shape) -> NDArray[np.float64]:
        """Return the named tensor in double precision."""
        if callable(self._weights):
            tensor = self._weights(name, shape)
        elif name in self._weights:
            tensor = self._weights[name]
        else:
            raise WeightsError(f"{self._name} needs the tensor {name}, which is missing")
        fits = len(tensor.shape) == len(shape) and all(
            size == expected or (expected is None and size > 0)
            for size, expected in zip(tensor.shape, shape, strict=True)
        )
        if not fits:
            expected = ", ".join("any" if size is None else str(size) for size in shape)
            raise WeightsError(
                f"The tensor {name} has the shape {tensor.shape}, expected ({expected})"
            )
        self._unused.discard(name)
        return tensor.astype(np.float64)

    def _constant(self, name: str, value: NDArray[np.float64]) -> str:
        with np.errstate(over="ignore"):
            single = value.astype(np.float32)
        if not np.isfinite(single).all():
            raise WeightsError(
                f"The tensor {name} is not finite, or its batch normalisation is not"
            )
        self._initializers[name] = numpy_helper.from_array(single, name)
        return name

    def _activate(self, name: str, activation: Activation | None) -> str:
        if activation is None:
            return name
        inputs = [name]
        if activation == "relu6":
            inputs += [
                self._constant("relu6.min", np.array(0.0)),
                self._constant("relu6.max", np.array(6.0)),
            ]
        self._add("Clip" if activation == "relu6" else "Relu", inputs, f"{name}.{activation}")
        return f"{name}.{activation}"

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))


def _shape(x: FeatureMap) -> tuple[int, int, int]:
    return x.channels, x.height, x.width
