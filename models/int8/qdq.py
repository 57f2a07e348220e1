"""Write a graph in INT8 with QuantizeLinear and DequantizeLinear (QDQ), from ranges of its values.

Activations are whole numbers of 8 bits without a sign (U8). Weights are whole numbers of 8 bits
with a sign (S8) and have a scale for each output channel, because one scale for all channels
destroys depthwise convolutions. Each value that a quantised node takes or makes passes through a
QuantizeLinear and a DequantizeLinear. ONNX Runtime merges them and the nodes between them into
kernels of whole numbers:
https://onnxruntime.ai/docs/performance/model-optimizations/quantization.html.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper, numpy_helper

OLDEST_OPSET = 13
"""The first version of ONNX's operators that has a scale for each channel."""

Ranges = Mapping[str, tuple[float, float]]
"""The smallest and the largest value of each tensor, by the tensor's name."""

_QUANTIZING = frozenset({"QuantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul"})
_WEIGHTED = frozenset({"Conv", "Gemm", "MatMul"})
_COMBINING = frozenset({"Add", "AveragePool", "Concat", "GlobalAveragePool", "Mul"})
_PASSING = frozenset({"Flatten", "MaxPool", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""The output of these nodes has the scale of their input, because it has no other values."""
_CLIPPING = frozenset({"Clip", "Relu"})
"""What only such a node takes is not quantised, because the QuantizeLinear after it clips too."""
_LARGEST_BIAS = 2.0**30
"""A bias in steps must be smaller, because the sums of the kernels have 32 bits."""


def is_quantized(model: onnx.ModelProto) -> bool:
    """Return whether a graph quantises some of its values already."""
    return any(node.op_type in _QUANTIZING for node in model.graph.node)


def quantized_values(model: onnx.ModelProto, keep: Collection[str] = ()) -> tuple[str, ...]:
    """Return the names of the values whose ranges :func:`quantized` needs, in the graph's order.

    Args:
        model: a graph in FP32.
        keep: the names of nodes that stay in FP32.
    """
    plan = _Plan(model.graph, keep)
    return tuple(name for name in plan.values if name not in plan.same_as)


def quantized(
    model: onnx.ModelProto, ranges: Ranges, keep: Collection[str] = ()
) -> onnx.ModelProto:
    """Write a graph in INT8. Equal graphs and ranges give equal bytes.

    Args:
        model: a graph in FP32, of :data:`OLDEST_OPSET` or newer, whose weights are initializers.
        ranges: the ranges of :func:`quantized_values`.
        keep: the names of nodes that stay in FP32.
    """
    return _Writer(model, ranges, keep).write()


class _Plan:
    """Which nodes and values are quantised.

    Attributes:
        constants: the initializers by name.
        nodes: the quantised nodes, by the names of their outputs.
        values: the quantised values, in the graph's order.
        same_as: for a value that a node only passes on, the value that has its scale.
    """

    def __init__(self, graph: onnx.GraphProto, keep: Collection[str]) -> None:
        self.constants = {each.name: each for each in graph.initializer}
        self.nodes: set[str] = set()
        self.same_as: dict[str, str] = {}
        self._uses = Counter(name for node in graph.node for name in node.input)
        self._uses.update(each.name for each in graph.output)
        self._summing: set[str] = set()
        self._wanted: set[str] = set()
        for node in graph.node:
            if node.name not in keep:
                self._visit(node)
        made = [each.name for each in graph.input]
        made += [name for node in graph.node for name in node.output]
        outputs = {each.name for each in graph.output}
        self.values = tuple(name for name in made if name in self._wanted - outputs)

    def _visit(self, node: onnx.NodeProto) -> None:
        taken, made = list(node.input), node.output[0]
        if self._multiplies_by_constants(node):
            self._wanted.add(taken[0])
            self._summing.add(made)
        elif node.op_type in _COMBINING and self._wanted.issuperset(taken):
            self._summing.add(made)
        elif node.op_type in _CLIPPING and taken[0] in self._wanted:
            if taken[0] in self._summing and self._uses[taken[0]] == 1:
                self._wanted.remove(taken[0])
        elif node.op_type in _PASSING and taken[0] in self._wanted:
            self.same_as[made] = self.same_as.get(taken[0], taken[0])
        else:
            return
        self.nodes.add(made)
        self._wanted.add(made)

    def _multiplies_by_constants(self, node: onnx.NodeProto) -> bool:
        """Whether a node multiplies one value by weights, in a form that kernels have."""
        constants = [self.constants.get(name) for name in node.input[1:] if name]
        if node.op_type not in _WEIGHTED or not constants or None in constants:
            return False
        given = {each.name: helper.get_attribute_value(each) for each in node.attribute}
        is_plain = given.get("alpha", 1) == given.get("beta", 1) == 1 and not given.get("transA")
        weight, *biases = (each.dims for each in constants if each is not None)
        fits = len(weight) > 2 if node.op_type == "Conv" else len(weight) == 2
        return is_plain and fits and all(len(each) == 1 for each in biases)


class _Writer:
    """Writes one graph."""

    def __init__(self, model: onnx.ModelProto, ranges: Ranges, keep: Collection[str]) -> None:
        self._made = onnx.ModelProto()
        self._made.CopyFrom(model)
        self._plan = _Plan(model.graph, keep)
        self._ranges = ranges
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, onnx.TensorProto] = {}

    def write(self) -> onnx.ModelProto:
        graph, values = self._made.graph, set(self._plan.values)
        for each in graph.input:
            if each.name in values:
                self._add_pair(each.name)
        for node in graph.node:
            if node.output[0] in self._plan.nodes:
                inputs = [f"{x}.dequantized" if x in values else x for x in node.input]
                if node.op_type in _WEIGHTED:
                    inputs[1:] = self._weights(node)
                node.ClearField("input")
                node.input.extend(inputs)
            self._nodes.append(node)
            for name in node.output:
                if name in values:
                    self._add_pair(name)
        used = {name for node in self._nodes for name in node.input}
        kept = [each for each in graph.initializer if each.name in used]
        written = onnx.GraphProto(
            name=graph.name,
            node=self._nodes,
            initializer=(*kept, *self._constants.values()),
            input=graph.input,
            output=graph.output,
        )
        graph.CopyFrom(written)
        return self._made

    def _add_pair(self, name: str) -> None:
        source = self._plan.same_as.get(name, name)
        scale, zero = self._steps(source)
        parameters = [
            self._constant(f"{source}.scale", np.array(scale)),
            self._constant(f"{source}.zero", np.array(zero)),
        ]
        whole, made = f"{name}.quantized", f"{name}.dequantized"
        self._add("QuantizeLinear", [name, *parameters], whole)
        self._add("DequantizeLinear", [whole, *parameters], made)

    def _steps(self, name: str) -> tuple[np.float32, np.uint8]:
        """Return the scale and the zero point of a value. Its range is widened to contain 0."""
        low, high = self._ranges[name]
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / 255) or np.float32(1)
        return scale, np.uint8(round(-low / float(scale)))

    def _weights(self, node: onnx.NodeProto) -> list[str]:
        """Quantise a node's weights, and its bias in the steps of the sums; return their names."""
        weight = self._array(node.input[1])
        by_rows = any(each.name == "transB" and each.i for each in node.attribute)
        axis = 0 if node.op_type == "Conv" or by_rows else 1
        step, _ = self._steps(self._plan.same_as.get(node.input[0], node.input[0]))
        biases = {name: self._array(name) for name in node.input[2:] if name}
        least = sum(np.abs(bias) for bias in biases.values()) / (float(step) * _LARGEST_BIAS)
        steps, scale = _rounded(np.moveaxis(weight, axis, 0), least)
        steps = np.ascontiguousarray(np.moveaxis(steps, 0, axis))
        names = [self._add_constant(node.input[1], steps, scale, axis)]
        for name, bias in biases.items():
            whole = np.rint(bias / (scale * step)).astype(np.int32)
            names.append(self._add_constant(name, whole, scale * step, 0))
        return names

    def _array(self, name: str) -> NDArray[np.float64]:
        return numpy_helper.to_array(self._plan.constants[name]).astype(np.float64)

    def _add_constant(
        self, name: str, steps: NDArray[Any], scale: NDArray[np.float32], axis: int
    ) -> str:
        inputs = [
            self._constant(f"{name}.quantized", steps),
            self._constant(f"{name}.scale", scale),
            self._constant(f"{name}.zero", np.zeros(scale.shape, steps.dtype)),
        ]
        return self._add("DequantizeLinear", inputs, f"{name}.dequantized", axis=axis)

    def _add(self, operator: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self._nodes.append(helper.make_node(operator, inputs, [output], output, **attributes))
        return output

    def _constant(self, name: str, value: NDArray[Any]) -> str:
        self._constants[name] = numpy_helper.from_array(value, name)
        return name


def _rounded(
    weight: NDArray[np.float64], least_scale: NDArray[np.float64] | float
) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Return weights in steps, and the scale of each output channel, which is the first axis.

    The rounding errors of a channel add up to less than a step, because the steps that are nearest
    to the middle are rounded the other way. Neighbouring pixels, and channels after a ReLU, are so
    alike that the sum of the errors matters more than each error.
    """
    rows = weight.reshape(len(weight), -1)
    scale = np.maximum(np.abs(rows).max(axis=1) / 127, least_scale)
    scale = np.where(scale > 0, scale, 1).astype(np.float32)
    exact = rows / scale[:, None]
    steps = np.rint(exact)
    missing = np.rint((exact - steps).sum(axis=1)).astype(int)
    for row, error, count in zip(steps, exact - steps, missing, strict=True):
        nearest = np.argsort(-error * np.sign(count), kind="stable")[: abs(count)]
        row[nearest] += np.sign(count)
    return steps.clip(-127, 127).astype(np.int8).reshape(weight.shape), scale
