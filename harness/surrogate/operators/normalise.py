"""Operators that normalise: over the batch, a layer, groups of channels, or classes."""

import torch
from torch import Tensor
from torch.nn import functional

from harness.surrogate.operators.operator import Node, operator


@operator("BatchNormalization", "epsilon momentum training_mode spatial")
def _batch(
    node: Node, x: Tensor, scale: Tensor, shift: Tensor, mean: Tensor, variance: Tensor
) -> Tensor:
    node.require("training_mode", 0, 0)
    node.require("spatial", 1, 1)
    return functional.batch_norm(x, mean, variance, scale, shift, eps=node.get("epsilon", 1e-5))


@operator("LayerNormalization", "axis epsilon stash_type")
def _layer(node: Node, x: Tensor, scale: Tensor, shift: Tensor | None = None) -> Tensor:
    node.require("stash_type", 1, 1)
    shape = x.shape[node.get("axis", -1) :]
    normal = functional.layer_norm(x, shape, eps=node.get("epsilon", 1e-5)) * scale
    return normal if shift is None else normal + shift


@operator("RMSNormalization", "axis epsilon stash_type")
def _root_mean_square(node: Node, x: Tensor, scale: Tensor) -> Tensor:
    node.require("stash_type", 1, 1)
    shape = list(x.shape[node.get("axis", -1) :])
    return functional.rms_norm(x, shape, eps=node.get("epsilon", 1e-5)) * scale


@operator("GroupNormalization", "epsilon num_groups stash_type")
def _group(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    node.require("stash_type", 1, 1)
    groups = node.attributes["num_groups"]
    if node.opset < 21:  # scale and shift had one value for each group, not for each channel
        scale, shift = (each.repeat_interleave(x.shape[1] // groups) for each in (scale, shift))
    return functional.group_norm(x, groups, scale, shift, eps=node.get("epsilon", 1e-5))


@operator("InstanceNormalization", "epsilon")
def _instance(node: Node, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
    return functional.instance_norm(x, weight=scale, bias=shift, eps=node.get("epsilon", 1e-5))


@operator("LpNormalization", "axis p")
def _power(node: Node, x: Tensor) -> Tensor:
    axis, power = node.get("axis", -1), node.get("p", 2)
    length = x.norm(p=power, dim=axis, keepdim=True)
    return torch.where(length == 0, torch.zeros_like(x), x / length)


@operator("LRN", "alpha beta bias size")
def _local_response(node: Node, x: Tensor) -> Tensor:
    size, squares = node.attributes["size"], x.square()
    around = functional.pad(squares.movedim(1, -1), ((size - 1) // 2, size // 2)).unfold(
        -1, size, 1
    )
    total = around.sum(dim=-1).movedim(-1, 1)
    alpha, beta = node.get("alpha", 1e-4), node.get("beta", 0.75)
    divisor: Tensor = node.get("bias", 1.0) + alpha / size * total
    return x * divisor.pow(-beta)


@operator("Softmax", "axis")
def _softmax(node: Node, x: Tensor) -> Tensor:
    flat, axis = _before_opset_13(node, x)
    return flat.softmax(axis).reshape(x.shape)


@operator("LogSoftmax", "axis")
def _log_softmax(node: Node, x: Tensor) -> Tensor:
    flat, axis = _before_opset_13(node, x)
    return flat.log_softmax(axis).reshape(x.shape)


def _before_opset_13(node: Node, x: Tensor) -> tuple[Tensor, int]:
    """Return the tensor and the axis. Before opset 13 all axes from ``axis`` on were one."""
    if node.opset >= 13:
        return x, node.get("axis", -1)
    return x.flatten(start_dim=node.get("axis", 1) % x.ndim), -1
