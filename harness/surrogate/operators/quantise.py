"""Quantised graphs, with a straight-through gradient: rounding is taken for the identity.

A quantised value is a whole number in float32 here, because whole types have no gradient.
"""

from typing import Any

import torch
from torch import Tensor

from harness.surrogate.operators.operator import Node, operator


class _Round(torch.autograd.Function):
    """Round to whole numbers, and pass the gradient straight through."""

    @staticmethod
    def forward(context: Any, x: Tensor) -> Tensor:
        del context
        return x.round()

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> Tensor:
        del context
        return gradients[0]


_ENDS = {
    torch.uint8: (0, 255),
    torch.int8: (-128, 127),
    torch.uint16: (0, 65535),
    torch.int16: (-32768, 32767),
}


@operator("QuantizeLinear", "axis saturate")
def _quantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    """Round to the scale's steps. The gradient is that of the clipping alone."""
    low, high = _ENDS[torch.uint8 if zero is None else zero.dtype]
    whole: Tensor = _Round.apply(x / _along(node, scale, x))  # type: ignore[no-untyped-call] # has no types
    offset = 0 if zero is None else _along(node, zero, x).to(x.dtype)
    return (whole + offset).clamp(low, high)


@operator("DequantizeLinear", "axis")
def _dequantize(node: Node, x: Tensor, scale: Tensor, zero: Tensor | None = None) -> Tensor:
    steps = x.to(scale.dtype)
    if zero is not None:
        steps = steps - _along(node, zero, x).to(scale.dtype)
    return steps * _along(node, scale, x)


def _along(node: Node, values: Tensor, x: Tensor) -> Tensor:
    """Shape one value, or one for each index of an axis, so that it broadcasts."""
    if values.ndim == 0 or values.numel() == 1:
        return values.reshape(())
    shape = [1] * x.ndim
    shape[node.get("axis", 1)] = -1
    return values.reshape(shape)
