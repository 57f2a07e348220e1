"""Find the range of each value of a graph: its smallest and its largest number on some images."""

import hashlib
from collections.abc import Iterable

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.catalog import CATALOG, PackagedFile
from models.errors import UnknownModelError
from models.int8.qdq import Ranges, quantized, quantized_values
from models.manifest import Manifest
from models.weights import read_weights


def calibrate_embedded(
    name: str, tensors: Iterable[NDArray[np.float32]]
) -> tuple[Ranges, tuple[str, str]]:
    """Return the ranges of an embedded model, and the SHA-256 of its graphs in FP32 and INT8.

    Args:
        name: the model's name.
        tensors: the images, one at a time, as ``to_tensor`` returns them.

    Raises:
        UnknownModelError: the model is not embedded.
    """
    entry = CATALOG[name]
    if not isinstance(entry.weights, PackagedFile):
        raise UnknownModelError(f"The model {name!r} is not embedded.")
    model = entry.build(read_weights(entry.weights.path, trusted=entry.accepted))
    ranges = ranges_of(model, entry.manifest, tensors)
    fp32, int8 = (
        hashlib.sha256(each.SerializeToString(deterministic=True)).hexdigest()
        for each in (model, quantized(model, ranges))
    )
    return ranges, (fp32, int8)


def ranges_of(
    model: onnx.ModelProto, manifest: Manifest, tensors: Iterable[NDArray[np.float32]]
) -> Ranges:
    """Run images through a graph, and return the ranges of the values that INT8 needs.

    The range of the input is not measured. It is that of pixels in [0, 255], so 8-bit images lose
    nothing if the scaling is the same for each colour.

    Args:
        model: a graph in FP32.
        manifest: the model's manifest.
        tensors: the images, one at a time, as ``to_tensor`` returns them.
    """
    ends = np.array([[0.0], [255.0]]) - np.array(manifest.scaling.mean)
    ends /= np.array(manifest.scaling.std)
    found = {manifest.input.name: (float(ends.min()), float(ends.max()))}
    names = [name for name in quantized_values(model) if name not in found]
    observed = onnx.ModelProto()
    observed.CopyFrom(model)
    observed.graph.ClearField("output")
    observed.graph.output.extend(onnx.helper.make_empty_tensor_value_info(each) for each in names)
    session = onnxruntime.InferenceSession(
        observed.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    for tensor in tensors:
        values = session.run(names, {manifest.input.name: tensor[None]})
        for name, value in zip(names, values, strict=True):
            low, high = found.get(name, (np.inf, -np.inf))
            found[name] = min(low, float(value.min())), max(high, float(value.max()))
    return found
