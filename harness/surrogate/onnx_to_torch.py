"""An ONNX graph as a PyTorch module, which computes what ONNX Runtime computes, with gradients.

::

    ONNX file ──► functions inlined ──► what the output needs ──► constants folded ──► nodes

:mod:`harness.surrogate.operators` has the operators. A graph with another operator, or with an
attribute that the operator here does not read, is refused by name when it is read.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import onnx
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import Tensor, nn

from harness.errors import SurrogateError
from harness.surrogate.graph import (
    constant_of,
    dense_of,
    inlined,
    needed_nodes,
    node_of,
    opset_of,
    refuse_unsupported,
    tensor_of,
)
from harness.surrogate.operators import OPERATORS, Node

_QUANTIZED = (torch.uint8, torch.int8, torch.uint16, torch.int16)


class OnnxModule(nn.Module):
    """A graph with one input and one of its outputs, evaluated node by node.

    The weights are constants, so only the input has a gradient. Shapes and indices stay on the CPU.

    Attributes:
        nodes: the nodes that are evaluated, in this order.
        quantized: whether values or weights are quantised.
    """

    def __init__(self, graph: bytes, output: str | None = None) -> None:
        """Read a graph.

        Args:
            graph: an ONNX file.
            output: the name of the output to compute; by default the first. Nodes that only other
                outputs need are left out.

        Raises:
            SurrogateError: the file is not an ONNX graph, or has an unsupported operator or
                attribute.
        """
        super().__init__()
        self._file = graph
        self.register_buffer("_anchor", torch.zeros(()), persistent=False)  # knows the device
        try:
            self._read(output)
        except SurrogateError:
            raise
        except Exception as error:  # what a graph can break has no common base
            raise SurrogateError(f"The file is not a valid ONNX graph: {error}") from error

    def read_model(self) -> onnx.ModelProto:
        """Return the graph whose nodes are evaluated, before anything is left out of it."""
        return inlined(onnx.load_model_from_string(self._file))

    def _read(self, output: str | None) -> None:
        model = self.read_model()
        graph = model.graph
        outputs = [each.name for each in graph.output]
        self._output = outputs[0] if output is None else output
        if output is not None and output not in outputs:
            raise SurrogateError(f"The graph has no output {output!r}; it has {outputs}.")
        needed = needed_nodes(graph.node, self._output)
        self.quantized = any(node.op_type == "DequantizeLinear" for node in needed)
        refuse_unsupported(needed)
        opset = opset_of(model)
        constants = {
            each.name: tensor_of(numpy_helper.to_array(each)) for each in graph.initializer
        }
        constants |= {each.values.name: dense_of(each) for each in graph.sparse_initializer}
        (self._input,) = (each.name for each in graph.input if each.name not in constants)
        self.nodes: list[Node] = []
        for proto in needed:
            if proto.op_type == "Constant":
                constants[proto.output[0]] = constant_of(proto)
                continue
            node = node_of(proto, opset)
            if all(name in constants or not name for name in node.inputs):
                values: dict[str, Tensor] = dict(constants)
                _evaluate(node, values, torch.device("cpu"))
                constants |= {name: values[name] for name in node.outputs if name in values}
            else:
                self.nodes.append(node)
        self._keep(constants)

    def _keep(self, constants: Mapping[str, Tensor]) -> None:
        """Keep the constants that nodes read, and note after which node a value is not needed."""
        used = {name for node in self.nodes for name in node.inputs} | {self._output}
        self._host: dict[str, Tensor] = {}
        self._buffer_names: dict[str, str] = {}
        for name in used & set(constants):
            value = constants[name]
            if value.dtype == torch.int64 and value.ndim < 2:
                self._host[name] = value
                continue
            if value.ndim == 4:
                value = value.contiguous(memory_format=torch.channels_last)
            self._buffer_names[name] = f"constant_{len(self._buffer_names)}"
            self.register_buffer(self._buffer_names[name], value.clone())
        last_use = {name: index for index, node in enumerate(self.nodes) for name in node.inputs}
        self._finished: list[list[str]] = [[] for _ in self.nodes]
        for name, index in last_use.items():
            if name and name not in constants and name != self._output:
                self._finished[index].append(name)

    def forward(self, batch: Tensor) -> Tensor:
        """Compute the output for an input, both ``float32`` with any batch size.

        Raises:
            SurrogateError: a node cannot be computed; the error names it.
        """
        values = self._constants()
        if batch.ndim == 4:
            batch = batch.contiguous(memory_format=torch.channels_last)
        values[self._input] = batch
        for node, finished in zip(self.nodes, self._finished, strict=True):
            _evaluate(node, values, batch.device)
            for name in finished:
                values.pop(name, None)
        return values[self._output]

    def each_node(
        self, values: Mapping[str, NDArray[Any]]
    ) -> Iterator[tuple[Node, list[NDArray[Any]]]]:
        """Evaluate each node alone, on values that another implementation computed.

        Args:
            values: the values of all nodes and of the input, by name.

        Yields:
            Each node, and the outputs that it computes.
        """
        constants = self._constants()
        device = self.get_buffer("_anchor").device
        for node in self.nodes:
            given = dict(constants)
            for name in set(node.inputs) & set(values):
                given[name] = tensor_of(values[name]).to(device)
                if given[name].dtype in _QUANTIZED:
                    given[name] = given[name].float()
            with torch.no_grad():
                _evaluate(node, given, device)
            yield node, [given[name].cpu().numpy() for name in node.outputs if name in given]

    def _constants(self) -> dict[str, Tensor]:
        return {name: getattr(self, own) for name, own in self._buffer_names.items()} | self._host


def _evaluate(node: Node, values: dict[str, Tensor], device: torch.device) -> None:
    """Add the outputs of a node to the values.

    Raises:
        SurrogateError: the node cannot be computed.
    """
    operator = OPERATORS[node.kind]
    try:
        given = [values[name] if name else None for name in node.inputs]
        # Whoever meets a value on the device moves there; only shapes and indices stay behind.
        moving = [each for index, each in enumerate(given) if index not in operator.host]
        if any(each is not None and each.device == device for each in moving):
            given = [
                each if each is None or index in operator.host else each.to(device)
                for index, each in enumerate(given)
            ]
        computed = operator.compute(node, *given)
    except Exception as error:  # any failure here is a graph that is not supported
        cause = f"its value {error} is not computed" if isinstance(error, KeyError) else error
        raise SurrogateError(f"{node} cannot be differentiated here: {cause}.") from error
    if isinstance(computed, Tensor):
        computed = (computed,)
    values.update(zip(node.outputs, computed, strict=False))
