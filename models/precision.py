"""Choose the precision of a model: FP32, or INT8 where it is faster on this processor.

ONNX Runtime's kernels for INT8 are fast with AVX-512 VNNI, AVX-VNNI, AMX or ARM's dot product. On
x86 without them, one kind of kernel overflows and the other is slow, so ``auto`` takes FP32 there.
"""

import logging
import time
from dataclasses import dataclass
from typing import Literal

import numpy as np

from models.errors import PrecisionError, StoreError
from models.manifest import Manifest, Speed
from models.obtain import ensure
from models.processor import INSTRUCTIONS, int8_instructions, processor_name
from models.session import Classifier, Device, has_cuda
from models.store import Store

Precision = Literal["auto", "fp32", "int8"]

MEASURED_FOR_S = 2.0
"""How long the two graphs are compared."""
_GAIN = 1.1
"""INT8 must be faster by this factor, because it costs accuracy."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Chosen:
    """A graph to serve.

    Attributes:
        manifest: the graph's manifest; its ``precision`` is what was chosen.
        graph_bytes: the ONNX file.
        reason: why, for people.
    """

    manifest: Manifest
    graph_bytes: bytes
    reason: str


def choose(
    store: Store, name: str, precision: Precision = "auto", device: Device = "auto"
) -> Chosen:
    """Get a model from the store in the precision that was asked for.

    ``auto`` takes INT8 if the store has such a graph, the model runs on the CPU, the processor has
    the instructions, and INT8 was measured to be faster on a processor of this name. If it has
    never been measured there, it is measured now, which takes two seconds, and the store keeps the
    result.

    Args:
        store: the store to search.
        name: the model's name.
        precision: ``auto``, ``fp32`` or ``int8``.
        device: the device that will run the model.

    Raises:
        PrecisionError: the model does not have this precision, or the device does not run it.
        ModelError: see :func:`models.ensure`.
    """
    manifest, graph_bytes = ensure(store, name)
    if manifest.precision == "int8":
        if precision == "fp32":
            raise PrecisionError(
                f"The graph of {name!r} was added in INT8, and the store has no other. Take the "
                "precision auto or int8, or add the graph in FP32."
            )
        return Chosen(manifest, graph_bytes, "the model's own graph is in INT8")
    if precision == "int8":
        _require_int8(manifest, device)
        manifest, graph_bytes = ensure(store, name, int8=True)
        return Chosen(manifest, graph_bytes, "INT8 was asked for")
    if precision == "fp32":
        return Chosen(manifest, graph_bytes, "FP32 was asked for")
    obstacle = _obstacle(manifest, device)
    if obstacle is not None:
        return Chosen(manifest, graph_bytes, obstacle)
    int8 = ensure(store, name, int8=True)
    speed = _known_speed(manifest) or _measured_speed(store, (manifest, graph_bytes), int8)
    is_faster, reason = _verdict(speed)
    return Chosen(*(int8 if is_faster else (manifest, graph_bytes)), reason)


def expected(manifest: Manifest, device: Device = "auto") -> tuple[str, str]:
    """Return what ``auto`` takes on this machine and why, without measuring it.

    The precision is an empty text if it is not known before the model has been measured.
    """
    if manifest.precision == "int8":
        return "int8", "the model's own graph is in INT8"
    obstacle = _obstacle(manifest, device)
    if obstacle is not None:
        return "fp32", obstacle
    speed = _known_speed(manifest)
    if speed is None:
        return "", "INT8 is measured when the model is first served on this processor"
    is_faster, reason = _verdict(speed)
    return "int8" if is_faster else "fp32", reason


def measure(fp32: Classifier, int8: Classifier, *, for_s: float = MEASURED_FOR_S) -> Speed:
    """Run one image after another in both graphs by turns, each the same number of times.

    Args:
        fp32: the graph in FP32, on one thread.
        int8: the graph in INT8, on one thread.
        for_s: how long, in seconds. Each graph runs three times at least.

    Returns:
        The shortest time of each, because other work on the machine makes times longer.
    """
    image = np.zeros((1, *fp32.manifest.input.shape), np.float32)
    shortest_s = [np.inf, np.inf]
    for classifier in (fp32, int8):
        classifier.run(image)
    started_s, rounds = time.perf_counter(), 0
    while rounds < 3 or time.perf_counter() - started_s < for_s:
        for index, classifier in enumerate((fp32, int8)):
            before_s = time.perf_counter()
            classifier.run(image)
            shortest_s[index] = min(shortest_s[index], time.perf_counter() - before_s)
        rounds += 1
    fp32_ms, int8_ms = (round(1e3 * each, 3) for each in shortest_s)
    return Speed(fp32_ms=fp32_ms, int8_ms=int8_ms)


def pays(speed: Speed) -> bool:
    """Return whether INT8 is faster by so much that it pays."""
    return speed.fp32_ms >= _GAIN * speed.int8_ms


def _verdict(speed: Speed) -> tuple[bool, str]:
    times = f"{speed.int8_ms:.1f} ms for an image and FP32 {speed.fp32_ms:.1f} ms"
    return pays(speed), f"INT8 took {times} on one thread of {processor_name()}"


def _require_int8(manifest: Manifest, device: Device) -> None:
    if device not in ("auto", "cpu"):
        raise PrecisionError(
            f"The device {device!r} does not run graphs in INT8. Take the device cpu, or the "
            "precision fp32."
        )
    if manifest.int8 is None:
        raise PrecisionError(
            f"The store has no graph of {manifest.name!r} in INT8. Run `warpguard models quantize "
            f"{manifest.name} --data DIR` with a folder of photographs, or take the precision fp32."
        )


def _obstacle(manifest: Manifest, device: Device) -> str | None:
    """Return why INT8 is out of the question, if it is."""
    if manifest.int8 is None:
        return "the store has no graph in INT8"
    if device in ("cuda", "tensorrt") or (device == "auto" and has_cuda()):
        return "INT8 is for the CPU only"
    if int8_instructions() is None:
        *others, last = INSTRUCTIONS.values()
        return f"{processor_name()} has neither {', '.join(others)} nor {last}"
    return None


def _known_speed(manifest: Manifest) -> Speed | None:
    return manifest.int8.speed.get(processor_name()) if manifest.int8 else None


def _measured_speed(
    store: Store, fp32: tuple[Manifest, bytes], int8: tuple[Manifest, bytes]
) -> Speed:
    """Compare the two graphs, and store the result, so that no other start has to."""
    fp32_graph, int8_graph = (Classifier(*each, device="cpu", threads=1) for each in (fp32, int8))
    speed = measure(fp32_graph, int8_graph)
    try:
        store.note_speed(fp32[0].name, str(int8[0].sha256), processor_name(), speed)
    except StoreError as error:
        _log.warning("INT8 will be measured again at the next start. %s", error)
    return speed
