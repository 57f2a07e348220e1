"""Operators that slide a window over an image: convolutions and pools, with ONNX's padding."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from harness.surrogate.operators.operator import Node, operator

_CONV = {1: torch.conv1d, 2: torch.conv2d, 3: torch.conv3d}
_CONV_TRANSPOSE = {1: torch.conv_transpose1d, 2: torch.conv_transpose2d, 3: torch.conv_transpose3d}
_MAX_POOL = {1: functional.max_pool1d, 2: functional.max_pool2d, 3: functional.max_pool3d}
_AVERAGE_POOL = {1: functional.avg_pool1d, 2: functional.avg_pool2d, 3: functional.avg_pool3d}
_WINDOW = "kernel_shape strides pads dilations auto_pad"


@dataclass(frozen=True)
class _Window:
    """A window, with one number for each axis of the image.

    Attributes:
        extent: the window's size with its dilation.
        pads: how much is added before and after the image.
        beyond: how far the last window of ``ceil_mode`` reaches over the padded image.
    """

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    extent: list[int]
    pads: list[tuple[int, int]]
    beyond: list[int]


def _window(node: Node, sides: list[int], kernel: list[int]) -> _Window:
    ones = [1] * len(sides)
    strides, dilations = list(node.get("strides", ones)), list(node.get("dilations", ones))
    extent = [(k - 1) * d + 1 for k, d in zip(kernel, dilations, strict=True)]
    pads = _pads(node, sides, strides, extent)
    beyond = [0] * len(sides)
    if node.get("ceil_mode", 0):
        for axis, (side, (before, after)) in enumerate(zip(sides, pads, strict=True)):
            steps = math.ceil((side + before + after - extent[axis]) / strides[axis])
            if steps * strides[axis] >= side + before:  # a window must begin inside
                steps -= 1
            reach = steps * strides[axis] + extent[axis]
            beyond[axis] = max(0, reach - side - before - after)
    return _Window(kernel, strides, dilations, extent, pads, beyond)


def _pads(
    node: Node, sides: list[int], strides: list[int], extent: list[int]
) -> list[tuple[int, int]]:
    auto = node.require("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    if auto == "NOTSET":
        pads = list(node.get("pads", [0] * 2 * len(sides)))
        return list(zip(pads[: len(sides)], pads[len(sides) :], strict=True))
    if auto == "VALID":
        return [(0, 0)] * len(sides)
    found = []
    for side, stride, length in zip(sides, strides, extent, strict=True):
        total = max(0, (math.ceil(side / stride) - 1) * stride + length - side)
        before = total // 2 if auto == "SAME_UPPER" else total - total // 2
        found.append((before, total - before))
    return found


def padded(x: Tensor, pads: list[tuple[int, int]], value: float) -> Tensor:
    """Pad the last axes of a tensor, or crop them where a number is negative."""
    if not any(map(any, pads)):
        return x
    return functional.pad(x, [each for pair in reversed(pads) for each in pair], value=value)


@operator("Conv", f"{_WINDOW} group")
def _convolution(node: Node, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    window = _window(node, list(x.shape[2:]), list(kernel.shape[2:]))
    padding = [before for before, _ in window.pads]
    if any(before != after for before, after in window.pads):  # PyTorch pads alike on both sides
        x, padding = padded(x, window.pads, 0.0), [0] * len(padding)
    return _CONV[x.ndim - 2](
        x, kernel, bias, window.strides, padding, window.dilations, node.get("group", 1)
    )


@operator("ConvTranspose", f"{_WINDOW} group output_padding output_shape")
def _transposed(node: Node, x: Tensor, kernel: Tensor, bias: Tensor | None = None) -> Tensor:
    """Compute everything that the kernel reaches, and then crop or extend it."""
    axes = x.ndim - 2
    strides = list(node.get("strides", [1] * axes))
    dilations = list(node.get("dilations", [1] * axes))
    more = list(node.get("output_padding", [0] * axes))
    whole = _CONV_TRANSPOSE[axes](
        x, kernel, None, strides, [0] * axes, [0] * axes, node.get("group", 1), dilations
    )
    sides = [side + extra for side, extra in zip(whole.shape[2:], more, strict=True)]
    auto = node.require("auto_pad", "NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    wanted = list(node.get("output_shape", []))[-axes:]
    if not wanted and auto.startswith("SAME"):
        wanted = [side * stride for side, stride in zip(x.shape[2:], strides, strict=True)]
    if wanted:
        totals = [side - wish for side, wish in zip(sides, wanted, strict=True)]
        starts = [each // 2 if auto == "SAME_UPPER" else each - each // 2 for each in totals]
        pads = [(start, total - start) for start, total in zip(starts, totals, strict=True)]
    else:
        pads = _pads(node, sides, strides, sides)
    crops = [(-before, extra - after) for (before, after), extra in zip(pads, more, strict=True)]
    result = padded(whole, crops, 0.0)
    return result if bias is None else result + bias.reshape(-1, *[1] * axes)


@operator("MaxPool", f"{_WINDOW} ceil_mode storage_order")
def _max_pool(node: Node, x: Tensor) -> Tensor:
    window = _window(node, list(x.shape[2:]), list(node.attributes["kernel_shape"]))
    pads = _with_beyond(window)
    return _MAX_POOL[x.ndim - 2](
        padded(x, pads, -torch.inf), window.kernel, window.strides, 0, window.dilations
    )


@operator("AveragePool", f"{_WINDOW} ceil_mode count_include_pad")
def _average_pool(node: Node, x: Tensor) -> Tensor:
    window = _window(node, list(x.shape[2:]), list(node.attributes["kernel_shape"]))
    pads = _with_beyond(window)
    pooled = _means(padded(x, pads, 0.0), window)
    if not any(map(any, pads)):
        return pooled
    counted = torch.ones_like(x[:1, :1])
    if node.get("count_include_pad", 0):
        counted = padded(counted, window.pads, 1.0)
        pads = [(0, beyond) for beyond in window.beyond]
    return pooled / _means(padded(counted, pads, 0.0), window)


def _with_beyond(window: _Window) -> list[tuple[int, int]]:
    return [
        (before, after + beyond)
        for (before, after), beyond in zip(window.pads, window.beyond, strict=True)
    ]


def _means(x: Tensor, window: _Window) -> Tensor:
    """Average each window. PyTorch's average pools have no dilation, but convolutions do."""
    axes = x.ndim - 2
    if set(window.dilations) == {1}:
        return _AVERAGE_POOL[axes](x, window.kernel, window.strides)
    kernel = torch.full((1, 1, *window.kernel), 1 / math.prod(window.kernel)).to(x)
    single = x.reshape(-1, 1, *x.shape[2:])
    found = _CONV[axes](single, kernel, None, window.strides, 0, window.dilations)
    return found.reshape(*x.shape[:2], *found.shape[2:])


@operator("GlobalAveragePool")
def _global_average(node: Node, x: Tensor) -> Tensor:
    del node
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


@operator("GlobalMaxPool")
def _global_maximum(node: Node, x: Tensor) -> Tensor:
    del node
    return x.amax(dim=tuple(range(2, x.ndim)), keepdim=True)
