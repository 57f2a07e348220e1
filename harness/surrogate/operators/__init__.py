"""The operators of ONNX in PyTorch: one small function for each.

::

    operator      what a node and an operator are, and the table OPERATORS
    elementwise   arithmetic, comparisons, activations
    window        convolutions and pools
    normalise     normalisations and softmax
    reduce        sums, means, extremes, matrix products
    arrange       reshape, transpose, slice, gather, and the arithmetic of shapes
    resample      pad and resize
    quantise      QuantizeLinear and DequantizeLinear, with a straight-through gradient
"""

from harness.surrogate.operators import (
    arrange,
    elementwise,
    normalise,
    quantise,
    reduce,
    resample,
    window,
)
from harness.surrogate.operators.operator import OPERATORS, Node, Operator

__all__ = [
    "OPERATORS", "Node", "Operator",
    "arrange", "elementwise", "normalise", "quantise", "reduce", "resample", "window",
]  # fmt: skip
