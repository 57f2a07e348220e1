"""The time of each defence at 299x299 on one core, and of a loop over single blocks."""

import tempfile
from collections.abc import Callable
from pathlib import Path
from random import Random, SystemRandom

import cv2
import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from scipy.fft import dctn, idctn

from benchmarks.timing import Result, medians_ms, on_one_core
from defenses import Pipeline, patch_bank
from defenses.feature_distillation import TIE_COEFFICIENT

SIDE_PX = 299
SPECIFICATIONS = ("fd", "rdg", "rand", "fd+rdg", "fd+rand", "fd*3+rdg")
COMPARED = ("bitdepth", "jpeg", "shield", "crop", "deflect", "tvm", "menet")
"""Defences by other authors, with which the paper compares."""
LIMITS_MS = {"fd": 1.0, "fd+rdg": 1.3, "jpeg": 2.0, "shield": 6.0}
"""The targets, for the defences that have one."""
FROM_FILES = {"quilt": "quilt(bank={}/bank.npz)", "onnx": "onnx(file={}/blur.onnx)"}
"""Defences with a file: a bank of 20,000 patches, and a 3x3 blur as the smallest network."""


def photograph() -> NDArray[np.uint8]:
    """Return a smooth random image, whose spectrum is roughly that of a photograph."""
    generator = np.random.default_rng(0)
    image = generator.integers(0, 256, (SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
    return cv2.GaussianBlur(image, (0, 0), 1.5).astype(np.uint8)


def block_by_block(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Compute Feature Distillation block by block, without rounding to whole values."""
    padded = np.pad(image, ((2, 3), (2, 3), (0, 0)), mode="reflect").astype(np.float64)
    steps = np.full((8, 8), 30.0)
    steps[:4, :4] = 25
    for channel in range(3):
        for y in range(0, padded.shape[0], 8):
            for x in range(0, padded.shape[1], 8):
                block = padded[y : y + 8, x : x + 8, channel]
                scaled = dctn(block, norm="ortho") / steps * (1 - TIE_COEFFICIENT)
                quantised = np.rint(scaled) * steps
                padded[y : y + 8, x : x + 8, channel] = idctn(quantised, norm="ortho")
    return np.clip(padded[2:301, 2:301], 0, 255)


def write_files(folder: Path, image: NDArray[np.uint8]) -> None:
    """Write the files that :data:`FROM_FILES` names."""
    (patches,) = patch_bank.gather([image], 20_000, 5, Random(0))
    with (folder / "bank.npz").open("wb") as file:
        patch_bank.write(file, patches)
    kernel = np.full((3, 1, 3, 3), 1 / 9, np.float32)
    x, y = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, "h", "w"]) for name in "xy"
    )
    node = helper.make_node("Conv", ["x", "kernel"], ["y"], group=3, pads=[1] * 4)
    graph = helper.make_graph([node], "blur", [x], [y], [numpy_helper.from_array(kernel, "kernel")])
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), folder / "blur.onnx")


def measure() -> list[Result]:
    """Time each defence in both dtypes, and the loop."""
    on_one_core()
    rng = SystemRandom()
    image = photograph()
    as_float = image / np.float32(255)

    candidates: dict[str, Callable[[], object]] = {"loop": lambda: block_by_block(image)}
    pipelines = {each: Pipeline.parse(each) for each in SPECIFICATIONS + COMPARED}
    with tempfile.TemporaryDirectory() as folder:
        write_files(Path(folder), image)
        for name, specification in FROM_FILES.items():
            pipelines[name] = Pipeline.parse(specification.format(folder))
    for name, pipeline in pipelines.items():
        candidates[name] = lambda p=pipeline: p(image, rng)  # type: ignore[misc]
        candidates[f"{name} float32"] = lambda p=pipeline: p(as_float, rng)  # type: ignore[misc]
    loop_ms = medians_ms({"loop": candidates.pop("loop")}, rounds=5)["loop"]
    ms = medians_ms(candidates, rounds=200, warm_up=20)

    results = [Result("FD as a loop over blocks, scipy.fft", loop_ms, "ms")]
    for name, value in ms.items():
        limit = LIMITS_MS.get(name)
        target = f"<= {limit} ms" if limit else ""
        results.append(Result(name, value, "ms", target, limit is None or value <= limit))
    speed_up = loop_ms / ms["fd"]
    results.append(Result("the loop's time / fd's", speed_up, "x", ">= 50", speed_up >= 50))
    for specification in SPECIFICATIONS:
        ratio = ms[f"{specification} float32"] / ms[specification]
        results.append(
            Result(f"{specification}: float32 / uint8", ratio, "x", "<= 1.5", ratio <= 1.5)
        )

    difference = np.abs(Pipeline.parse("fd")(as_float, rng) * 255 - block_by_block(image))
    equal = float(np.mean(difference <= 1e-3 * 255))
    name = "fd: fraction of values within 0.255 of the loop's"
    results.append(Result(name, equal, "", ">= 0.999", equal >= 0.999))
    return results
