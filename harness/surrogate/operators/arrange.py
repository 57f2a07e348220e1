"""Operators that move values without changing them, and the arithmetic of shapes."""

import numpy as np
import torch
from torch import Tensor

from harness.surrogate.operators.operator import Node, numbers, operator


@operator("Shape", "start end")
def _shape(node: Node, x: Tensor) -> Tensor:
    return torch.tensor(x.shape[node.get("start", 0) : node.get("end", None)], dtype=torch.int64)


@operator("Size")
def _size(node: Node, x: Tensor) -> Tensor:
    del node
    return torch.tensor(x.numel())


@operator("ConstantOfShape", "value", host=(0,))
def _constant_of_shape(node: Node, shape: Tensor) -> Tensor:
    value: Tensor = node.get("value", torch.zeros(1))
    return value.reshape(()).repeat(*numbers(shape)) if shape.numel() else value.reshape(())


@operator("Range", host=(0, 1, 2))
def _range(node: Node, start: Tensor, end: Tensor, step: Tensor) -> Tensor:
    del node
    return torch.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


@operator("Reshape", "allowzero", host=(1,))
def _reshape(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    sides = numbers(shape)
    if not node.get("allowzero", 0):  # 0 keeps the input's side
        sides = [side or x.shape[axis] for axis, side in enumerate(sides)]
    return x.reshape(sides)


@operator("Flatten", "axis")
def _flatten(node: Node, x: Tensor) -> Tensor:
    axis = node.get("axis", 1)
    return x.reshape(x.shape[:axis].numel(), x.shape[axis:].numel())


@operator("Transpose", "perm")
def _transpose(node: Node, x: Tensor) -> Tensor:
    return x.permute(*node.get("perm", list(reversed(range(x.ndim)))))


@operator("Squeeze", "axes", host=(1,))
def _squeeze(node: Node, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = node.get("axes", None) if given is None else numbers(given)
    return x.squeeze() if axes is None else x.squeeze(dim=tuple(axes))


@operator("Unsqueeze", "axes", host=(1,))
def _unsqueeze(node: Node, x: Tensor, given: Tensor | None = None) -> Tensor:
    axes = list(node.attributes["axes"]) if given is None else numbers(given)
    rank = x.ndim + len(axes)
    for axis in sorted(each % rank for each in axes):
        x = x.unsqueeze(axis)
    return x


@operator("Concat", "axis")
def _concatenate(node: Node, *given: Tensor) -> Tensor:
    return torch.cat(given, dim=node.attributes["axis"])


@operator("Split", "axis num_outputs split", host=(1,))
def _split(node: Node, x: Tensor, given: Tensor | None = None) -> tuple[Tensor, ...]:
    axis = node.get("axis", 0)
    sizes = list(node.get("split", [])) if given is None else numbers(given)
    if not sizes:
        count, side = len(node.outputs), x.shape[axis]
        size = -(-side // count)
        sizes = [min(size, side - start) for start in range(0, side, size)]
    return torch.split(x, sizes, dim=axis)


@operator("Slice", "starts ends axes", host=(1, 2, 3, 4))
def _slice(
    node: Node,
    x: Tensor,
    starts: Tensor | None = None,
    ends: Tensor | None = None,
    axes: Tensor | None = None,
    steps: Tensor | None = None,
) -> Tensor:
    begins = list(node.attributes["starts"]) if starts is None else numbers(starts)
    stops = list(node.attributes["ends"]) if ends is None else numbers(ends)
    which = list(node.get("axes", range(len(begins)))) if axes is None else numbers(axes)
    jumps = [1] * len(begins) if steps is None else numbers(steps)
    for begin, stop, axis, step in zip(begins, stops, which, jumps, strict=True):
        kept = range(*slice(begin, stop, step).indices(x.shape[axis]))
        if step == 1:
            x = x.narrow(axis, kept.start, len(kept)) if kept else x.narrow(axis, 0, 0)
        else:
            x = x.index_select(axis, torch.tensor(list(kept), dtype=torch.int64, device=x.device))
    return x


@operator("Expand", host=(1,))
def _expand(node: Node, x: Tensor, shape: Tensor) -> Tensor:
    del node
    return x.expand(np.broadcast_shapes(x.shape, tuple(numbers(shape))))


@operator("Tile", host=(1,))
def _tile(node: Node, x: Tensor, repeats: Tensor) -> Tensor:
    del node
    return x.repeat(*numbers(repeats))


@operator("Gather", "axis")
def _gather(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0) % x.ndim
    positive = torch.where(indices < 0, indices + x.shape[axis], indices).long()
    found = x.index_select(axis, positive.flatten())
    return found.reshape([*x.shape[:axis], *indices.shape, *x.shape[axis + 1 :]])


@operator("GatherElements", "axis")
def _gather_elements(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    axis = node.get("axis", 0)
    positive = torch.where(indices < 0, indices + x.shape[axis], indices).long()
    return x.gather(axis, positive)


@operator("GatherND", "batch_dims")
def _gather_nd(node: Node, x: Tensor, indices: Tensor) -> Tensor:
    node.require("batch_dims", 0, 0)
    return x[tuple(indices.long().movedim(-1, 0))]


@operator("ScatterND", "reduction")
def _scatter_nd(node: Node, x: Tensor, indices: Tensor, updates: Tensor) -> Tensor:
    adds = node.require("reduction", "none", "none", "add") == "add"
    return x.index_put(tuple(indices.long().movedim(-1, 0)), updates, accumulate=adds)


@operator("Trilu", "upper", host=(1,))
def _triangle(node: Node, x: Tensor, diagonal: Tensor | None = None) -> Tensor:
    (offset,) = [0] if diagonal is None else numbers(diagonal)
    return x.triu(offset) if node.get("upper", 1) else x.tril(offset)


@operator("DepthToSpace", "blocksize mode")
def _depth_to_space(node: Node, x: Tensor) -> Tensor:
    block = node.attributes["blocksize"]
    count, depth, height, width = x.shape
    if node.require("mode", "DCR", "DCR", "CRD") == "CRD":
        split = x.reshape(count, depth // block**2, block, block, height, width)
        moved = split.permute(0, 1, 4, 2, 5, 3)
    else:
        split = x.reshape(count, block, block, depth // block**2, height, width)
        moved = split.permute(0, 3, 4, 1, 5, 2)
    return moved.reshape(count, depth // block**2, height * block, width * block)


@operator("SpaceToDepth", "blocksize")
def _space_to_depth(node: Node, x: Tensor) -> Tensor:
    block = node.attributes["blocksize"]
    count, depth, height, width = x.shape
    split = x.reshape(count, depth, height // block, block, width // block, block)
    moved = split.permute(0, 3, 5, 1, 2, 4)
    return moved.reshape(count, depth * block**2, height // block, width // block)
