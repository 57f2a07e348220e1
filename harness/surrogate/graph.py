"""Read an ONNX file: what of it is needed, whether that is supported, and its constants."""

from collections.abc import Iterable
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import inliner, numpy_helper
from torch import Tensor

from harness.errors import SurrogateError
from harness.surrogate.operators import OPERATORS, Node

_OWN_DOMAIN = ("", "ai.onnx")


def inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    """Replace operators that are functions of other operators, unless they are supported here."""
    kinds = {node.op_type for node in model.graph.node if node.domain in _OWN_DOMAIN}
    if not model.functions and kinds <= {*OPERATORS, "Constant"}:
        return model
    # DynamicQuantizeLinear would become a Round, whose gradient is 0 everywhere.
    kept = [("", kind) for kind in (*OPERATORS, "DynamicQuantizeLinear")]
    for node in model.graph.node:
        if node.domain in _OWN_DOMAIN and node.op_type not in OPERATORS:
            _write_defaults(node, opset_of(model))
    try:
        return inliner.inline_selected_functions(
            model, kept, exclude=True, inline_schema_functions=True
        )
    except RuntimeError:  # a type that the replacement depends on is unknown
        return model


def _write_defaults(node: onnx.NodeProto, opset: int) -> None:
    """Write the attributes that have their default value, because onnx's inliner forgets them."""
    if not onnx.defs.has(node.op_type, opset, ""):
        return
    given = {attribute.name for attribute in node.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, opset, "").attributes.items():
        if name not in given and attribute.default_value.name:
            node.attribute.append(attribute.default_value)


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators."""
    versions = [int(each.version) for each in model.opset_import if each.domain in _OWN_DOMAIN]
    return max(versions)


def needed_nodes(nodes: Iterable[onnx.NodeProto], output: str) -> list[onnx.NodeProto]:
    """Return the nodes that an output depends on, in the graph's order."""
    wanted, needed = {output}, []
    for node in reversed(list(nodes)):
        if wanted & set(node.output):
            needed.append(node)
            wanted |= set(node.input)
            for attribute in node.attribute:
                if attribute.HasField("g"):
                    wanted |= {name for inner in attribute.g.node for name in inner.input}
    return needed[::-1]


def refuse_unsupported(nodes: Iterable[onnx.NodeProto]) -> None:
    """Refuse operators, and attributes of operators, that are not supported.

    Raises:
        SurrogateError: there are some; the error names them.
    """
    unknown, unread = set(), set()
    for node in nodes:
        own = node.domain in _OWN_DOMAIN
        if own and node.op_type == "Constant":
            continue
        if not own or node.op_type not in OPERATORS:
            unknown.add(node.op_type if own else f"{node.op_type} of {node.domain}")
            continue
        reads = OPERATORS[node.op_type].attributes
        unread |= {f"{a.name} of {node.op_type}" for a in node.attribute if a.name not in reads}
    for what, names in (("operators", unknown), ("attributes", unread)):
        if names:
            raise SurrogateError(
                f"The graph has {what} that cannot be differentiated here: "
                f"{', '.join(sorted(names))}. docs/harness.md lists what is supported. Attacks "
                "without gradients, such as square and hopskipjump, need no differentiable model."
            )


def node_of(proto: onnx.NodeProto, opset: int) -> Node:
    """Return a node as operators take it, without the empty names at the end of its inputs."""
    inputs = list(proto.input)
    while inputs and not inputs[-1]:
        inputs.pop()
    return Node(
        kind=proto.op_type,
        name=proto.name or proto.output[0],
        inputs=tuple(inputs),
        outputs=tuple(proto.output),
        attributes={each.name: _value(each) for each in proto.attribute},
        opset=opset,
    )


def _value(attribute: onnx.AttributeProto) -> Any:
    value = onnx.helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, onnx.TensorProto):
        return tensor_of(numpy_helper.to_array(value))
    return value


def constant_of(node: onnx.NodeProto) -> Tensor:
    """Return the value of a Constant in any of its forms."""
    (attribute,) = node.attribute
    value = onnx.helper.get_attribute_value(attribute)
    if attribute.name == "value":
        return tensor_of(numpy_helper.to_array(value))
    if attribute.name == "sparse_value":
        return dense_of(value)
    if attribute.name.startswith("value_string"):
        raise SurrogateError(f"Constant ({node.output[0]!r}) is a text, which has no gradient.")
    whole = attribute.name.startswith("value_int")
    return torch.tensor(value, dtype=torch.int64 if whole else torch.float32)


def tensor_of(array: NDArray[Any]) -> Tensor:
    """Return an array as a tensor. PyTorch has no whole numbers of four bits."""
    if array.dtype == ml_dtypes.bfloat16:
        return torch.from_numpy(array.astype(np.float32)).to(torch.bfloat16)
    if array.dtype in (ml_dtypes.int4, ml_dtypes.uint4):
        array = array.astype(np.int8)
    return torch.from_numpy(np.array(array))


def dense_of(sparse: onnx.SparseTensorProto) -> Tensor:
    """Return a sparse tensor with its zeros."""
    values, indices = (numpy_helper.to_array(each) for each in (sparse.values, sparse.indices))
    dense = np.zeros(list(sparse.dims), values.dtype)
    dense[tuple(indices.T) if indices.ndim == 2 else np.unravel_index(indices, dense.shape)] = (
        values
    )
    return tensor_of(dense)
