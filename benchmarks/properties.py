"""Measure the paper's four properties of each operation for ``warpguard defenses``.

The photographs are in a folder with a ``labels.csv``. The last quarter of them makes the bank of
``quilt``, and all figures are measured on the other three quarters.
"""

import csv
import json
import platform
import tempfile
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from random import Random, SystemRandom
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

from benchmarks.timing import Result, medians_ms, on_one_core
from defenses import OPERATIONS, Measured, Pipeline, patch_bank
from harness.budget import l2_rms
from harness.report.similarity import ssim
from models import Classifier, Store, ensure, fit, to_tensor, write_atomically
from service.images.decode import decode

FILE = Path(__file__).parents[1] / "defenses" / "measured.json"
MODEL = "efficientnet-lite2"
STEP = 1e-4
"""How far each value moves to find zero gradients: far less than the 1/255 between two levels."""
_DEPENDS = ("onnx",)
"""Operations without figures, because their properties are those of the user's network."""


def measure(folder: Path, limit: int | None) -> list[Result]:
    """Measure the properties, write them to :data:`FILE`, and return them."""
    on_one_core()
    manifest, graph = ensure(Store(), MODEL)
    classifier = Classifier(manifest, graph, device="cpu", threads=1)
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    images = [
        np.asarray(fit(decode((folder / row["file"]).read_bytes(), max_pixels=10**9), manifest))
        for row in rows
    ]
    labels = [int(row["label"]) for row in rows]
    bound = len(images) - max(1, len(images) // 4)

    def accuracy(defended: list[Any]) -> float:
        right = [
            int(classifier.run(to_tensor(image, manifest)[None])[0].argmax()) == label
            for image, label in zip(defended, labels[:bound], strict=True)
        ]
        return float(np.mean(right))

    undefended = accuracy(images[:bound])
    names = [name for name in OPERATIONS if name not in _DEPENDS]
    operations: dict[str, Measured] = {}
    with (
        tempfile.TemporaryDirectory() as temporary,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        bank = Path(temporary, "bank.npz")
        patches = patch_bank.gather(images[bound:], 400, 5, Random(0))
        with bank.open("wb") as stream:
            patch_bank.write(stream, np.concatenate(list(patches)))
        for name in progress.track(names, description="operations"):
            pipeline = Pipeline.parse(f"quilt(bank={bank})" if name == "quilt" else name)
            defended = [pipeline(image, SystemRandom()) for image in images[:bound]]
            ms = medians_ms({name: lambda p=pipeline: p(images[0], SystemRandom())}, rounds=50)  # type: ignore[misc]
            operations[name] = Measured(
                accuracy=accuracy(defended),
                undefended=undefended,
                ms=ms[name],
                **changes(pipeline, images[:bound]),
            )
    write(operations, f"{MODEL}, {bound} photographs of {folder.name}, {_processor()}")
    return [
        Result(f"{name}: {key}", value, "ms" if key == "ms" else "")
        for name, figures in operations.items()
        for key, value in asdict(figures).items()
    ]


def changes(pipeline: Pipeline, images: list[NDArray[np.uint8]]) -> dict[str, float]:
    """Return l2_rms, ssim, draw_distance and zero_gradient_fraction, averaged over images."""
    figures: defaultdict[str, list[float]] = defaultdict(list)
    for number, image in enumerate(images):
        pixels = image.astype(np.float32) / 255
        random = Random(number)
        draw = pipeline.sample(random, pixels.shape)
        other = pipeline.sample(random, pixels.shape)
        defended = pipeline.apply(pixels, draw).astype(np.float32)
        signs = np.random.default_rng(number).choice([-1, 1], pixels.shape)
        inwards = np.where(pixels < STEP, 1, np.where(pixels > 1 - STEP, -1, signs))
        near = (pixels + STEP * inwards).astype(np.float32)
        figures["l2_rms"].append(l2_rms(defended - pixels))
        figures["ssim"].append(ssim(pixels, defended))
        figures["draw_distance"].append(l2_rms(pipeline.apply(pixels, other) - defended))
        unmoved = float(np.mean(pipeline.apply(near, draw) == defended))
        figures["zero_gradient_fraction"].append(unmoved)
    return {name: float(np.mean(values)) for name, values in figures.items()}


def write(operations: dict[str, Measured], setting: str) -> None:
    """Write :data:`FILE`, which the package ships."""
    kept = {
        "setting": setting,
        "operations": {
            name: {key: float(f"{value:.4g}") for key, value in asdict(figures).items()}
            for name, figures in operations.items()
        },
    }
    write_atomically(FILE, (json.dumps(kept, indent=1) + "\n").encode())


def _processor() -> str:
    """Return the name of the processor, if the system has it."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()
