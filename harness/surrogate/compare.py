"""Compare a graph in PyTorch with the same graph in ONNX Runtime: its scores, and node by node."""

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from harness.surrogate.onnx_to_torch import OnnxModule
from models import Manifest, to_tensor

LARGEST_DIFFERENCE = 1e-4
"""How far a score may differ, as a fraction of the scores' spread over the compared images."""


def probes(manifest: Manifest) -> NDArray[np.float32]:
    """Return four images as a model takes them: black, a colour ramp, and two of noise.

    They differ so much that the spread of a model's scores over them shows what it reacts to.
    """
    height, width = manifest.input.height_px, manifest.input.width_px
    random = np.random.default_rng(0)
    ramp = np.linspace(0, 255, height * width * 3).reshape(height, width, 3).astype(np.uint8)
    noise = random.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return np.stack([to_tensor(each, manifest) for each in (np.zeros_like(ramp), ramp, *noise)])


def difference(own: NDArray[np.float32], scores: NDArray[np.float32]) -> float:
    """Return the largest difference between two ``(n, classes)`` arrays of scores.

    It is a fraction of the spread: of the largest range that a class has over the n images. A
    difference that is not a number, or one without any spread, is infinite.
    """
    largest, spread = float(np.abs(own - scores).max()), float(np.ptp(scores, axis=0).max())
    if largest == 0:
        return 0.0
    relative = largest / spread if spread else np.inf
    return relative if np.isfinite(relative) else np.inf


def wrong_node(module: OnnxModule, batch: NDArray[np.float32]) -> str:
    """Compare each node with ONNX Runtime, both on the inputs that ONNX Runtime computed.

    The scores of a quantised graph do not tell whether it was translated correctly, because a value
    near the middle of two steps may be rounded either way, and ONNX Runtime itself computes other
    scores with its optimisations. The nodes' own values do tell. A quantised value may be one step
    off.

    Returns:
        What the first node with other values computes, or an empty text if there is none.
    """
    reference = _all_values(module, batch)
    for node, computed in module.each_node(reference):
        for name, own in zip(node.outputs, computed, strict=False):
            wanted = reference.get(name)
            if wanted is None or not wanted.size:
                continue
            if own.shape != wanted.shape:
                return f"{node} has the shape {own.shape} instead of {wanted.shape}"
            apart = np.abs(own.astype(np.float64) - wanted.astype(np.float64))
            apart[own == wanted] = 0  # also where both are infinite
            size = np.abs(wanted[np.isfinite(wanted)].astype(np.float64)).max(initial=0)
            allowed = 1 if node.kind == "QuantizeLinear" else LARGEST_DIFFERENCE * size
            if not apart.max() <= allowed:
                return f"{node} differs by up to {apart.max():.2g} in values of up to {size:.2g}"
    return ""


def _all_values(module: OnnxModule, batch: NDArray[np.float32]) -> dict[str, NDArray[np.generic]]:
    """Run the graph in ONNX Runtime as it is written, and return every value that nodes make."""
    model = module.read_model()
    names = [name for node in module.nodes for name in node.outputs if name]
    del model.graph.output[:]
    model.graph.output.extend(onnx.helper.make_empty_tensor_value_info(name) for name in names)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    given = session.get_inputs()[0].name
    values = dict(zip(names, session.run(names, {given: batch}), strict=True))
    return values | {given: batch}
