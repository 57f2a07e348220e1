"""Operators that treat each value alone: arithmetic, comparisons and activations."""

from collections.abc import Callable
from functools import reduce

import torch
from onnx import helper
from torch import Tensor
from torch.nn import functional

from harness.surrogate.operators.operator import Node, operator

TYPES = {
    helper.np_dtype_to_tensor_dtype(each.numpy().dtype): each.dtype
    for each in (
        torch.zeros(0, dtype=dtype)
        for dtype in (
            torch.float16, torch.float32, torch.float64, torch.bool,
            torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
        )
    )
} | {16: torch.bfloat16}  # fmt: skip
"""PyTorch's types by ONNX's numbers."""


def _each(name: str, function: Callable[..., Tensor], attributes: str = "") -> None:
    """Register an operator that PyTorch computes with one function of its inputs."""
    operator(name, attributes)(lambda _, *given: function(*given))


_FUNCTIONS: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "Ceil": torch.ceil,
    "Cos": torch.cos,
    "Equal": torch.eq,
    "Erf": torch.erf,
    "Exp": torch.exp,
    "Floor": torch.floor,
    "Greater": torch.gt,
    "GreaterOrEqual": torch.ge,
    "HardSwish": functional.hardswish,
    "Identity": lambda x: x,
    "IsNaN": torch.isnan,
    "Less": torch.lt,
    "LessOrEqual": torch.le,
    "Log": torch.log,
    "Mish": functional.mish,
    "Mul": torch.mul,
    "Neg": torch.neg,
    "Not": torch.logical_not,
    "And": torch.logical_and,
    "Or": torch.logical_or,
    "Xor": torch.logical_xor,
    "Reciprocal": torch.reciprocal,
    "Relu": torch.relu,
    "Round": torch.round,
    "Sigmoid": torch.sigmoid,
    "Sign": torch.sign,
    "Sin": torch.sin,
    "Softplus": lambda x: functional.softplus(x, threshold=80),
    "Softsign": functional.softsign,
    "Sqrt": torch.sqrt,
    "Sub": torch.sub,
    "Tanh": torch.tanh,
    "Where": torch.where,
    "Max": lambda *given: reduce(torch.maximum, given),
    "Min": lambda *given: reduce(torch.minimum, given),
    "Sum": lambda *given: reduce(torch.add, given),
    "Mean": lambda *given: reduce(torch.add, given) / len(given),
}
for _name, _function in _FUNCTIONS.items():
    _each(_name, _function)


@operator("Div")
def _divide(node: Node, left: Tensor, right: Tensor) -> Tensor:
    del node
    return torch.div(left, right, rounding_mode=None if left.is_floating_point() else "trunc")


@operator("Mod", "fmod")
def _modulo(node: Node, left: Tensor, right: Tensor) -> Tensor:
    return torch.fmod(left, right) if node.get("fmod", 0) else torch.remainder(left, right)


@operator("Pow")
def _power(node: Node, base: Tensor, exponent: Tensor) -> Tensor:
    del node
    # A plain number as the exponent keeps the gradient finite at a base of 0.
    to = exponent.item() if exponent.numel() == 1 and exponent.ndim <= base.ndim else exponent
    return torch.pow(base, to).to(base.dtype)


@operator("Cast", "to saturate")
def _cast(node: Node, x: Tensor) -> Tensor:
    return x.to(TYPES[node.require("to", 0, *TYPES)])


@operator("CastLike", "saturate")
def _cast_like(node: Node, x: Tensor, like: Tensor) -> Tensor:
    del node
    return x.to(like.dtype)


@operator("Dropout", "ratio seed is_test")
def _dropout(
    node: Node, x: Tensor, ratio: Tensor | None = None, training: Tensor | None = None
) -> Tensor:
    del ratio
    if training is not None and bool(training):
        node.require("training_mode", True, False)
    return x


@operator("Clip", "min max")
def _clip(node: Node, x: Tensor, low: Tensor | None = None, high: Tensor | None = None) -> Tensor:
    lowest = node.get("min", None) if low is None else low
    highest = node.get("max", None) if high is None else high
    if lowest is None and highest is None:
        return x
    if x.is_floating_point():  # hardtanh's gradient is 0 at the limits, as that of Relu is
        ends = (
            -torch.inf if lowest is None else float(lowest),
            torch.inf if highest is None else float(highest),
        )
        if ends[0] <= ends[1]:
            return functional.hardtanh(x, *ends)
    return torch.clamp(x, lowest, highest)


@operator("Elu", "alpha")
def _elu(node: Node, x: Tensor) -> Tensor:
    return functional.elu(x, node.get("alpha", 1.0))


@operator("Celu", "alpha")
def _celu(node: Node, x: Tensor) -> Tensor:
    return functional.celu(x, node.get("alpha", 1.0))


@operator("Selu", "alpha gamma")
def _selu(node: Node, x: Tensor) -> Tensor:
    alpha = node.get("alpha", 1.67326319217681884765625)
    gamma: float = node.get("gamma", 1.05070102214813232421875)
    return gamma * functional.elu(x, alpha)


@operator("Gelu", "approximate")
def _gelu(node: Node, x: Tensor) -> Tensor:
    return functional.gelu(x, approximate=node.require("approximate", "none", "none", "tanh"))


@operator("HardSigmoid", "alpha beta")
def _hard_sigmoid(node: Node, x: Tensor) -> Tensor:
    return functional.hardtanh(node.get("alpha", 0.2) * x + node.get("beta", 0.5), 0.0, 1.0)


@operator("LeakyRelu", "alpha")
def _leaky_relu(node: Node, x: Tensor) -> Tensor:
    return functional.leaky_relu(x, node.get("alpha", 0.01))


@operator("PRelu")
def _prelu(node: Node, x: Tensor, slope: Tensor) -> Tensor:
    del node
    return torch.where(x > 0, x, slope * x)


@operator("Swish", "alpha")
def _swish(node: Node, x: Tensor) -> Tensor:
    return x * torch.sigmoid(node.get("alpha", 1.0) * x)


@operator("ThresholdedRelu", "alpha")
def _thresholded_relu(node: Node, x: Tensor) -> Tensor:
    return functional.threshold(x, node.get("alpha", 1.0), 0.0)
