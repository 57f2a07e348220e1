"""Quantise a model of the store, and keep the graph in INT8 if it pays."""

import hashlib
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from models.cpus import available_cpus
from models.errors import PrecisionError
from models.int8.calibrate import ranges_of
from models.int8.qdq import OLDEST_OPSET, is_quantized, quantized, quantized_values
from models.manifest import Int8, Manifest, Speed
from models.obtain import ensure
from models.precision import measure, pays
from models.processor import processor_name
from models.session import Classifier
from models.store import Store
from models.verify import verify

LEAST_AGREEMENT = 0.95
"""The least share of images whose most probable class is that of FP32."""
MOST_LOST = 0.01
"""The largest share of labelled images, or one image, that INT8 may get right less often."""
_VERIFIED_WITHIN_S = 120.0

Images = Sequence[NDArray[np.float32]]
"""Images as ``to_tensor`` returns them."""
OnProgress = Callable[[str, int, int], None]
"""Takes the name of a step, how many of its images are done, and how many it has."""


@dataclass(frozen=True)
class Verdict:
    """What a graph in INT8 costs and gains.

    Attributes:
        images: how many images both graphs classified.
        agreed: for how many of these the most probable class is the same.
        right_fp32, right_int8: how many labelled images each graph gets right; None without labels.
        speed: the milliseconds of both.
    """

    images: int
    agreed: int
    right_fp32: int | None
    right_int8: int | None
    speed: Speed

    @property
    def problems(self) -> tuple[str, ...]:
        """Why the graph does not pay, a clause each; empty if it does."""
        found = []
        if self.agreed < LEAST_AGREEMENT * self.images:
            found.append(
                f"it agrees with FP32 on {self.agreed} of {self.images} images, and "
                f"{LEAST_AGREEMENT:.0%} are needed"
            )
        if self.right_fp32 is not None and self.right_int8 is not None:
            allowed = max(1, int(MOST_LOST * self.images))
            if self.right_fp32 - self.right_int8 > allowed:
                found.append(
                    f"it gets {self.right_int8} of {self.images} images right and FP32 "
                    f"{self.right_fp32}, and at most {allowed} fewer are allowed"
                )
        if not pays(self.speed):
            found.append(
                f"it takes {self.speed.int8_ms:.1f} ms for an image on {processor_name()}, and "
                f"FP32 takes {self.speed.fp32_ms:.1f} ms"
            )
        return tuple(found)


def quantize(
    store: Store,
    name: str,
    calibrating: Images,
    judging: Images,
    labels: Sequence[int] | None,
    *,
    source: str,
    force: bool = False,
    on_progress: OnProgress = lambda *_: None,
) -> Verdict:
    """Write a model in INT8, compare it with FP32, and store it beside FP32 if it pays.

    Args:
        store: the store that has the model, or receives an embedded one.
        name: the model's name.
        calibrating: the images that give the ranges, also behind the defence.
        judging: other images, on which the two graphs are compared.
        labels: the true class of each of ``judging``, if they are known.
        source: a name for the images.
        force: store the graph even if it does not pay.
        on_progress: called after each image.

    Raises:
        PrecisionError: the graph cannot be quantised, or does not pay. The store is unchanged.
        ModelError: see :func:`models.ensure`; or the graph in INT8 cannot be run.
    """
    manifest, graph_bytes = ensure(store, name)
    model = _prepared(manifest, graph_bytes)

    def counted(step: str, images: Images) -> Iterator[NDArray[np.float32]]:
        for number, image in enumerate(images, 1):
            yield image
            on_progress(step, number, len(images))

    ranges = ranges_of(model, manifest, counted("calibrating", calibrating))
    int8_bytes = quantized(model, ranges).SerializeToString(deterministic=True)
    int8 = manifest.model_copy(update={"int8": None, "precision": "int8"})
    verify(int8, int8_bytes, timeout_s=_VERIFIED_WITHIN_S)
    pair = [
        Classifier(each, graph, device="cpu", threads=available_cpus())
        for each, graph in ((manifest, graph_bytes), (int8, int8_bytes))
    ]
    classes = np.array(
        [
            [int(each.run(image[None]).argmax()) for each in pair]
            for image in counted("comparing", judging)
        ]
    )
    speed = measure(
        *(
            Classifier(each, graph, device="cpu", threads=1)
            for each, graph in ((manifest, graph_bytes), (int8, int8_bytes))
        )
    )
    right = [None, None] if labels is None else (classes == np.array(labels)[:, None]).sum(axis=0)
    verdict = Verdict(
        images=len(judging),
        agreed=int((classes[:, 0] == classes[:, 1]).sum()),
        right_fp32=None if right[0] is None else int(right[0]),
        right_int8=None if right[1] is None else int(right[1]),
        speed=speed,
    )
    if verdict.problems and not force:
        raise PrecisionError(
            f"The graph of {name!r} in INT8 does not pay: {'; '.join(verdict.problems)}. It was "
            "not stored. Give more or more typical images, or store it all the same with --force."
        )
    digest = hashlib.sha256(int8_bytes).hexdigest()
    described = Int8(sha256=digest, calibration=source, speed={processor_name(): speed})
    store.put(manifest.model_copy(update={"int8": described}), graph_bytes, int8_bytes)
    return verdict


def _prepared(manifest: Manifest, graph_bytes: bytes) -> onnx.ModelProto:
    """Return the graph with its constants computed and its batch normalisation folded.

    Raises:
        PrecisionError: the graph is quantised already, too old, or has nothing to quantise.
    """
    model = onnx.load_model_from_string(graph_bytes)
    if is_quantized(model):
        raise PrecisionError(f"The graph of {manifest.name!r} is quantised already.")
    opset = next((each.version for each in model.opset_import if each.domain in ("", "ai.onnx")), 0)
    if opset < OLDEST_OPSET:
        raise PrecisionError(
            f"The graph of {manifest.name!r} has the operators of ONNX's version {opset}, and INT8 "
            f"needs {OLDEST_OPSET}. Export it again with a newer version."
        )
    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder) / "prepared.onnx")
        onnxruntime.InferenceSession(graph_bytes, options, providers=["CPUExecutionProvider"])
        model = onnx.load(options.optimized_model_filepath)
    if not set(quantized_values(model)) - {manifest.input.name}:
        raise PrecisionError(
            f"The graph of {manifest.name!r} has no convolution and no matrix product with "
            "constant weights, so it cannot be faster in INT8."
        )
    return model
