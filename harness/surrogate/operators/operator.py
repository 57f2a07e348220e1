"""What an operator is: a small PyTorch function, and the attributes that it reads."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, TypeVar

from torch import Tensor

from harness.errors import SurrogateError

Computed: TypeAlias = Tensor | tuple[Tensor, ...]
_Function = TypeVar("_Function", bound=Callable[..., Computed])


@dataclass(frozen=True)
class Node:
    """One node of a graph.

    Attributes:
        kind: the operator's name, such as ``Conv``.
        name: the node's own name, or that of its first output.
        inputs, outputs: the names of its values. An optional input that is not given is empty.
        attributes: the attributes that are set. Texts are ``str``, and tensors are PyTorch's.
        opset: the version of ONNX's operators, because some of them changed.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    opset: int

    def get(self, attribute: str, default: Any) -> Any:
        """Return an attribute, or the default that ONNX gives it."""
        return self.attributes.get(attribute, default)

    def require(self, attribute: str, default: Any, *allowed: Any) -> Any:
        """Return an attribute that has only some of ONNX's values here.

        Raises:
            SurrogateError: the attribute has another value.
        """
        value = self.get(attribute, default)
        if value not in allowed:
            named = " or ".join(map(repr, allowed))
            raise SurrogateError(f"its {attribute} is {value!r}, and only {named} is supported")
        return value

    def __str__(self) -> str:
        return f"{self.kind} ({self.name!r})"


@dataclass(frozen=True)
class Operator:
    """An operator of ONNX in PyTorch.

    Attributes:
        compute: from a node and its inputs, None for each that is not given, to its outputs.
        attributes: the attributes that it reads. A node with another attribute is refused.
        host: the positions of the inputs that are shapes or indices and are read as numbers.
    """

    compute: Callable[..., Computed]
    attributes: frozenset[str]
    host: frozenset[int]


OPERATORS: dict[str, Operator] = {}
"""The operators by name. Each module of this folder adds its own."""


def operator(
    name: str, attributes: str = "", host: tuple[int, ...] = ()
) -> Callable[[_Function], _Function]:
    """Register a function as an operator, with the names of the attributes that it reads."""

    def register(compute: _Function) -> _Function:
        OPERATORS[name] = Operator(compute, frozenset(attributes.split()), frozenset(host))
        return compute

    return register


def numbers(tensor: Tensor) -> list[int]:
    """Return a tensor of shapes or indices as Python's numbers."""
    return [int(number) for number in tensor.flatten().tolist()]
