"""An ONNX graph as a PyTorch module, which computes what ONNX Runtime computes, with gradients.

It has the operators of the graphs that this project builds and of ordinary convolutional
classifiers. A graph with another operator is refused when it is read.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn
from torch.nn import functional

from harness.errors import SurrogateError

_Attributes = dict[str, Any]
_Operator = Callable[[list[Tensor], _Attributes], Tensor]
_LEFT_OUT = torch.tensor(-torch.inf)
"""The value of an input without a name before other inputs: only Clip has one, its lower limit."""


class OnnxModule(nn.Module):
    """A graph with one input and one output, evaluated node by node.

    The weights are constants, so only the input has a gradient.
    """

    def __init__(self, graph: bytes) -> None:
        """Read a graph.

        Raises:
            SurrogateError: the file is not an ONNX graph, or has an unsupported operator.
        """
        super().__init__()
        try:
            model = onnx.load_model_from_string(graph).graph
        except Exception as error:  # noqa: BLE001  # protobuf's errors have no common base
            raise SurrogateError(f"The file is not a valid ONNX graph: {error}") from None
        unknown = sorted({node.op_type for node in model.node} - set(OPERATORS))
        if unknown:
            raise SurrogateError(
                f"The graph has operators without a gradient here: {', '.join(unknown)}. "
                f"Supported are {', '.join(sorted(OPERATORS))}."
            )
        constants = {each.name: numpy_helper.to_array(each) for each in model.initializer}
        for node in model.node:
            if node.op_type == "Constant":
                (value,) = node.attribute
                constants[node.output[0]] = numpy_helper.to_array(value.t)
        self._names = {name: f"constant_{number}" for number, name in enumerate(constants)}
        for name, value in constants.items():
            tensor = torch.from_numpy(np.array(value))
            if tensor.ndim == 4:
                tensor = tensor.contiguous(memory_format=torch.channels_last)
            self.register_buffer(self._names[name], tensor)
        (self._input,) = (each.name for each in model.input if each.name not in constants)
        (self._output,) = (each.name for each in model.output)
        self._nodes = [
            (
                OPERATORS[node.op_type],
                _given(node),
                node.output[0],
                {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute},
            )
            for node in model.node
            if node.op_type != "Constant"
        ]
        last_use = {name: index for index, node in enumerate(self._nodes) for name in node[1]}
        self._finished: list[list[str]] = [[] for _ in self._nodes]
        for name, index in last_use.items():
            if name and name not in constants and name != self._output:
                self._finished[index].append(name)

    def forward(self, batch: Tensor) -> Tensor:
        """Compute the output for an input, both ``float32`` with any batch size."""
        values: dict[str, Tensor] = {name: getattr(self, own) for name, own in self._names.items()}
        values[""] = _LEFT_OUT
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        values[self._input] = batch
        for (operator, inputs, output, attributes), finished in zip(
            self._nodes, self._finished, strict=True
        ):
            values[output] = operator([values[name] for name in inputs], attributes)
            for name in finished:
                del values[name]
        return values[self._output]


_conv2d: Callable[..., Tensor] = functional.conv2d


def _given(node: onnx.NodeProto) -> tuple[str, ...]:
    """Return the names of the inputs, without the empty ones at the end."""
    names = list(node.input)
    while names and not names[-1]:
        names.pop()
    return tuple(names)


def _pads(attributes: _Attributes) -> tuple[int, int, int, int]:
    """Return (left, right, top, bottom) for PyTorch. ONNX lists both starts, then both ends."""
    if attributes.get("auto_pad", b"NOTSET") not in (b"NOTSET", b"VALID"):
        raise SurrogateError(f"auto_pad {attributes['auto_pad']!r} is not supported; use pads.")
    top, left, bottom, right = attributes.get("pads", (0, 0, 0, 0))
    return left, right, top, bottom


def _padded(batch: Tensor, attributes: _Attributes, value: float) -> Tensor:
    pads = _pads(attributes)
    return functional.pad(batch, pads, value=value) if any(pads) else batch


def _convolution(given: list[Tensor], attributes: _Attributes) -> Tensor:
    left, right, top, bottom = _pads(attributes)
    options: _Attributes = {
        "stride": attributes.get("strides", (1, 1)),
        "dilation": attributes.get("dilations", (1, 1)),
        "groups": attributes.get("group", 1),
    }
    if (left, top) == (right, bottom):  # conv2d itself pads symmetrically, at no cost
        return _conv2d(*given, padding=(top, left), **options)
    return _conv2d(_padded(given[0], attributes, 0.0), *given[1:], **options)


def _max_pool(given: list[Tensor], attributes: _Attributes) -> Tensor:
    padded = _padded(given[0], attributes, -torch.inf)
    return functional.max_pool2d(
        padded, attributes["kernel_shape"], attributes.get("strides", (1, 1))
    )


def _average_pool(given: list[Tensor], attributes: _Attributes) -> Tensor:
    shape, strides = attributes["kernel_shape"], attributes.get("strides", (1, 1))
    pooled = functional.avg_pool2d(_padded(given[0], attributes, 0.0), shape, strides)
    if attributes.get("count_include_pad", 0) or not any(_pads(attributes)):
        return pooled
    ones = torch.ones_like(given[0][:1, :1])
    counted = functional.avg_pool2d(_padded(ones, attributes, 0.0), shape, strides)
    return pooled / counted


def _batch_norm(given: list[Tensor], attributes: _Attributes) -> Tensor:
    batch, scale, shift, mean, variance = given
    epsilon = attributes.get("epsilon", 1e-5)
    return functional.batch_norm(batch, mean, variance, scale, shift, eps=epsilon)


def _clip(given: list[Tensor], attributes: _Attributes) -> Tensor:
    low = given[1].item() if len(given) > 1 else attributes.get("min", -torch.inf)
    high = given[2].item() if len(given) > 2 else attributes.get("max", torch.inf)
    return functional.hardtanh(given[0], low, high)


def _gemm(given: list[Tensor], attributes: _Attributes) -> Tensor:
    left = given[0].T if attributes.get("transA") else given[0]
    right = given[1].T if attributes.get("transB") else given[1]
    product: Tensor = attributes.get("alpha", 1.0) * (left @ right)
    return product + attributes.get("beta", 1.0) * given[2] if len(given) > 2 else product


def _reduce_mean(given: list[Tensor], attributes: _Attributes) -> Tensor:
    axes = given[1].tolist() if len(given) > 1 else attributes["axes"]
    keep = bool(attributes.get("keepdims", 1))
    mean: Tensor = given[0].mean(dim=tuple(int(axis) for axis in axes), keepdim=keep)
    return mean


def _reshape(given: list[Tensor], attributes: _Attributes) -> Tensor:
    sides = [int(side) for side in given[1].tolist()]
    if not attributes.get("allowzero", 0):  # 0 keeps the input's side
        sides = [side or given[0].shape[axis] for axis, side in enumerate(sides)]
    return given[0].reshape(sides)


def _flatten(given: list[Tensor], attributes: _Attributes) -> Tensor:
    shape, axis = given[0].shape, attributes.get("axis", 1)
    return given[0].reshape(shape[:axis].numel(), shape[axis:].numel())


OPERATORS: dict[str, _Operator] = {
    "Add": lambda given, _: given[0] + given[1],
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_norm,
    "Clip": _clip,
    "Concat": lambda given, attributes: torch.cat(given, dim=attributes["axis"]),
    "Constant": lambda given, _: given[0],
    "Conv": _convolution,
    "Div": lambda given, _: given[0] / given[1],
    "Dropout": lambda given, _: given[0],
    "Flatten": _flatten,
    "Gemm": _gemm,
    "GlobalAveragePool": lambda given, _: given[0].mean(dim=(2, 3), keepdim=True),
    "HardSigmoid": lambda given, a: (a.get("alpha", 0.2) * given[0] + a.get("beta", 0.5)).clamp(
        0, 1
    ),
    "Identity": lambda given, _: given[0],
    "LeakyRelu": lambda given, a: functional.leaky_relu(given[0], a.get("alpha", 0.01)),
    "MatMul": lambda given, _: given[0] @ given[1],
    "MaxPool": _max_pool,
    "Mul": lambda given, _: given[0] * given[1],
    "ReduceMean": _reduce_mean,
    "Relu": lambda given, _: functional.relu(given[0]),
    "Reshape": _reshape,
    "Sigmoid": lambda given, _: given[0].sigmoid(),
    "Softmax": lambda given, attributes: given[0].softmax(attributes.get("axis", -1)),
    "Sub": lambda given, _: given[0] - given[1],
    "Tanh": lambda given, _: given[0].tanh(),
    "Transpose": lambda given, a: given[0].permute(*a.get("perm", reversed(range(given[0].ndim)))),
}


def difference(
    module: OnnxModule, batch: NDArray[np.float32], scores: NDArray[np.float32]
) -> float:
    """Return the largest absolute difference between the module's scores and ONNX Runtime's."""
    device = next(iter(module.buffers())).device
    with torch.no_grad():
        own = module(torch.from_numpy(batch).to(device)).cpu().numpy()
    return float(np.abs(own - scores).max())
