"""Operators that reduce axes: sums, means, extremes, and matrix products."""

from collections.abc import Callable

import torch
from torch import Tensor

from harness.surrogate.operators.operator import Node, numbers, operator

_Axes = tuple[int, ...]

_REDUCTIONS: dict[str, Callable[[Tensor, _Axes], Tensor]] = {
    "ReduceL1": lambda x, axes: x.abs().sum(axes, keepdim=True),
    "ReduceL2": lambda x, axes: torch.linalg.vector_norm(x, dim=axes, keepdim=True),
    "ReduceLogSum": lambda x, axes: x.sum(axes, keepdim=True).log(),
    "ReduceLogSumExp": lambda x, axes: x.logsumexp(axes, keepdim=True),
    "ReduceMax": lambda x, axes: x.amax(axes, keepdim=True),
    "ReduceMean": lambda x, axes: x.mean(axes, keepdim=True),
    "ReduceMin": lambda x, axes: x.amin(axes, keepdim=True),
    "ReduceSum": lambda x, axes: x.sum(axes, keepdim=True, dtype=x.dtype),
    "ReduceSumSquare": lambda x, axes: x.square().sum(axes, keepdim=True),
}


def _add(name: str, function: Callable[[Tensor, _Axes], Tensor]) -> None:
    @operator(name, "axes keepdims noop_with_empty_axes", host=(1,))
    def reduction(node: Node, x: Tensor, given: Tensor | None = None) -> Tensor:
        axes = list(node.get("axes", [])) if given is None else numbers(given)
        if not axes:
            if node.get("noop_with_empty_axes", 0):
                return x
            axes = list(range(x.ndim))
        result = function(x, tuple(axes))
        if node.get("keepdims", 1):
            return result
        return result.squeeze(dim=tuple(axes))


for _name, _function in _REDUCTIONS.items():
    _add(_name, _function)


@operator("ReduceProd", "axes keepdims noop_with_empty_axes", host=(1,))
def _product(node: Node, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = list(node.get("axes", [])) if given is None else numbers(given)
    if not axes and node.get("noop_with_empty_axes", 0):
        return x
    chosen = sorted({axis % x.ndim for axis in axes or range(x.ndim)}, reverse=True)
    keep = bool(node.get("keepdims", 1))
    for axis in chosen:
        x = x.prod(dim=axis, keepdim=keep, dtype=x.dtype)
    return x


@operator("ArgMax", "axis keepdims select_last_index")
def _argument_of_maximum(node: Node, x: Tensor) -> Tensor:
    node.require("select_last_index", 0, 0)
    return x.argmax(dim=node.get("axis", 0), keepdim=bool(node.get("keepdims", 1)))


@operator("TopK", "axis largest sorted", host=(1,))
def _top(node: Node, x: Tensor, count: Tensor) -> tuple[Tensor, ...]:
    (many,) = numbers(count)
    axis, largest = node.get("axis", -1), bool(node.get("largest", 1))
    return tuple(x.topk(many, dim=axis, largest=largest))


@operator("CumSum", "exclusive reverse", host=(1,))
def _cumulative(node: Node, x: Tensor, axis: Tensor) -> Tensor:
    (along,) = numbers(axis)
    if node.get("reverse", 0):
        x = x.flip(along)
    total = x.cumsum(along, dtype=x.dtype)
    if node.get("exclusive", 0):
        total = total - x
    return total.flip(along) if node.get("reverse", 0) else total


@operator("MatMul")
def _matrix_product(node: Node, left: Tensor, right: Tensor) -> Tensor:
    del node
    return left @ right


@operator("Gemm", "alpha beta transA transB")
def _general_product(node: Node, left: Tensor, right: Tensor, bias: Tensor | None = None) -> Tensor:
    left = left.T if node.get("transA", 0) else left
    right = right.T if node.get("transB", 0) else right
    product: Tensor = node.get("alpha", 1.0) * (left @ right)
    return product if bias is None else product + node.get("beta", 1.0) * bias


@operator("Einsum", "equation")
def _einsum(node: Node, *given: Tensor) -> Tensor:
    return torch.einsum(node.attributes["equation"].lower(), *given)
