"""Operators that change the size of an image: padding and resizing."""

import math

import torch
from torch import Tensor

from harness.surrogate.operators.operator import Node, numbers, operator
from harness.surrogate.operators.window import padded


@operator("Pad", "mode pads value", host=(1, 2, 3))
def _pad(
    node: Node,
    x: Tensor,
    given: Tensor | None = None,
    value: Tensor | None = None,
    axes: Tensor | None = None,
) -> Tensor:
    mode = node.require("mode", "constant", "constant", "reflect", "edge", "wrap")
    pads = list(node.attributes["pads"]) if given is None else numbers(given)
    which = range(x.ndim) if axes is None else [axis % x.ndim for axis in numbers(axes)]
    pairs = [(0, 0)] * x.ndim
    for number, axis in enumerate(which):
        pairs[axis] = pads[number], pads[number + len(which)]
    if mode == "constant":
        return padded(x, pairs, node.get("value", 0.0) if value is None else value.item())
    for axis, (before, after) in enumerate(pairs):
        side = x.shape[axis]
        at = torch.arange(-before, side + after, device=x.device)
        if mode == "edge":
            at = at.clamp(0, side - 1)
        elif mode == "wrap":
            at = at % side
        elif side > 1:  # reflect: a saw tooth of this period
            at = at % (2 * side - 2)
            at = torch.where(at < side, at, 2 * side - 2 - at)
        else:
            at = at * 0
        if before or after:
            x = x.index_select(axis, at)
    return x


_RESIZE = (
    "mode coordinate_transformation_mode nearest_mode cubic_coeff_a exclude_outside antialias axes "
    "keep_aspect_ratio_policy extrapolation_value"
)


@operator("Resize", _RESIZE, host=(1, 2, 3))
def _resize(
    node: Node,
    x: Tensor,
    region: Tensor | None = None,
    scales: Tensor | None = None,
    sizes: Tensor | None = None,
) -> Tensor:
    """Resize one axis after the other, because all of ONNX's interpolations are separable."""
    node.require("antialias", 0, 0)
    node.require("keep_aspect_ratio_policy", "stretch", "stretch")
    if node.opset < 11:  # the scales came second, and there was no region
        scales, region = region, None
    axes = [axis % x.ndim for axis in node.get("axes", range(x.ndim))]
    if sizes is not None and sizes.numel():
        wanted = numbers(sizes)
        by = [wish / x.shape[axis] for wish, axis in zip(wanted, axes, strict=True)]
    elif scales is not None:
        by = scales.tolist()
        wanted = [math.floor(x.shape[axis] * scale) for axis, scale in zip(axes, by, strict=True)]
    for axis, side, scale in zip(axes, wanted, by, strict=True):
        if side != x.shape[axis] or scale != 1:
            weights = _weights(node, x.shape[axis], side, scale).to(x)
            x = (x.movedim(axis, -1) @ weights.T).movedim(-1, axis)
    return x


@operator("Upsample", "mode scales", host=(1,))
def _upsample(node: Node, x: Tensor, scales: Tensor | None = None) -> Tensor:
    """Resize as ONNX did before opset 10."""
    by = torch.tensor(node.attributes["scales"]) if scales is None else scales
    old = Node(node.kind, node.name, node.inputs, node.outputs, node.attributes, opset=10)
    return _resize(old, x, by)


def _weights(node: Node, side: int, wanted: int, scale: float) -> Tensor:
    """Return ``(wanted, side)``: the weight of each old value in each new one."""
    new = torch.arange(wanted, dtype=torch.float64)
    default = "half_pixel" if node.opset >= 11 else "asymmetric"
    known = ("half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric")
    where = node.require("coordinate_transformation_mode", default, *known)
    if where == "align_corners":
        at = new * (side - 1) / (wanted - 1) if wanted > 1 else new * 0
    elif where == "asymmetric":
        at = new / scale
    elif where == "pytorch_half_pixel" and wanted == 1:
        at = new * 0
    else:
        at = (new + 0.5) / scale - 0.5
    mode = node.require("mode", "nearest", "nearest", "linear", "cubic")
    if mode == "nearest":
        return _placed(side, [(_nearest(node, at), torch.ones_like(at))])
    base = at.floor()
    part = at - base
    if mode == "linear":
        return _placed(side, [(base, 1 - part), (base + 1, part)])
    node.require("exclude_outside", 0, 0)
    a = node.get("cubic_coeff_a", -0.75)
    near = [(base, part), (base + 1, 1 - part)]
    far = [(base - 1, part + 1), (base + 2, 2 - part)]
    return _placed(
        side,
        [(index, (a + 2) * d**3 - (a + 3) * d**2 + 1) for index, d in near]
        + [(index, a * (d**3 - 5 * d**2 + 8 * d - 4)) for index, d in far],
    )


def _nearest(node: Node, at: Tensor) -> Tensor:
    default = "round_prefer_floor" if node.opset >= 11 else "floor"
    known = ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil")
    mode = node.require("nearest_mode", default, *known)
    if mode == "floor":
        return at.floor()
    if mode == "ceil":
        return at.ceil()
    return (at - 0.5).ceil() if mode == "round_prefer_floor" else (at + 0.5).floor()


def _placed(side: int, parts: list[tuple[Tensor, Tensor]]) -> Tensor:
    """Add weights at indices. An index outside of the image stands for the value at its edge."""
    rows = torch.arange(len(parts[0][0]))
    weights = torch.zeros(len(rows), side, dtype=torch.float64)
    for index, weight in parts:
        weights.index_put_((rows, index.long().clamp(0, side - 1)), weight, accumulate=True)
    return weights
