"""``warpguard models quantize``."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING

import models
from service.cli.command import DEFENSE, STORE, AddParser, add_command
from service.errors import SetupError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from models import Manifest, Verdict

_LEAST_IMAGES = 20
_MAX_PIXELS = 10**9
"""The largest limit that the service can have, because these files are the user's own."""


def register(actions: AddParser, name: argparse.ArgumentParser) -> None:
    """Add the action to the command ``models``."""
    parser = add_command(actions, "quantize", run, name, DEFENSE, STORE)
    data = f"folder of {_LEAST_IMAGES} images or more, maybe with a labels.csv"
    parser.add_argument("--data", type=Path, required=True, metavar="DIR", help=data)
    parser.add_argument("--limit", type=int, metavar="N", help="use only the first N images")
    parser.add_argument("--force", action="store_true", help="store it even if it does not pay")
    parser.add_argument("--quiet", action="store_true", help="show no progress bar")


def run(options: argparse.Namespace) -> None:
    """Write a model in INT8 beside FP32, if it is faster and about as accurate.

    For example: warpguard models quantize mine --data photographs

    Every second image gives the ranges, bare and behind the defence. The others are classified in
    FP32 and INT8. labels.csv has the columns file and label, a class index from 0.
    """
    from rich.console import Console
    from rich.progress import Progress

    from defenses import Pipeline

    store = models.Store(options.store)
    manifest, _ = models.ensure(store, options.name)
    pipeline = Pipeline.parse(options.defense)
    random = Random(0)  # noqa: S311  # it is to be repeatable
    files, labels = _read(options.data, options.limit, len(manifest.label_names))
    with Progress(console=Console(stderr=True), transient=True, disable=options.quiet) as progress:
        task = progress.add_task("reading", total=len(files))
        bare, defended = [], []
        for file in files:
            image = _decoded(file, manifest)
            bare.append(models.to_tensor(image, manifest))
            if len(bare) % 2:
                defended.append(models.to_tensor(pipeline(image, random), manifest))
            progress.advance(task)

        def show(step: str, done: int, total: int) -> None:
            progress.update(task, description=step, completed=done, total=total)

        verdict = models.quantize(
            store,
            options.name,
            [*bare[::2], *defended],
            bare[1::2],
            labels[1::2] if labels is not None else None,
            source=f"{len(bare[::2])} images of {options.data.resolve().name}, bare and behind "
            f"{pipeline}",
            force=options.force,
            on_progress=show,
        )
    _print(options.name, verdict)


def _print(name: str, verdict: "Verdict") -> None:
    lines = [f"{name} is in the store in INT8 too."]
    lines.append(f"The same class as FP32: {verdict.agreed} of {verdict.images} images.")
    if verdict.right_fp32 is not None:
        lines.append(f"Right: {verdict.right_int8} in INT8, {verdict.right_fp32} in FP32.")
    speed = verdict.speed
    lines.append(f"An image on one thread: {speed.int8_ms:.1f} ms, FP32 {speed.fp32_ms:.1f} ms.")
    lines += [f"It does not pay: {each}." for each in verdict.problems]
    sys.stdout.write("\n".join(lines) + "\n")


def _read(folder: Path, limit: int | None, classes: int) -> tuple[list[Path], Sequence[int] | None]:
    """Return the files, and their labels if the folder has a table.

    Raises:
        SetupError: the folder or the table cannot be read, or there are too few images.
    """
    from service.cli.folder import images_in, labels_in

    files = images_in(folder)
    labels = labels_in(folder, files, classes)
    files = [each for each in files if not labels or each in labels][:limit]
    if len(files) < _LEAST_IMAGES:
        raise SetupError(
            f"--data {folder} has {len(files)} images. Give {_LEAST_IMAGES} or more, of the kind "
            "that the model is for; some hundred are better."
        )
    return files, [labels[each] for each in files] if labels else None


def _decoded(file: Path, manifest: "Manifest") -> "NDArray[np.uint8 | np.float32]":
    from service.errors import ServiceError
    from service.images.decode import decode

    try:
        image = decode(
            file.read_bytes(), max_pixels=_MAX_PIXELS, reduce_to_px=manifest.decode_to_px
        )
    except (OSError, ServiceError) as error:
        raise SetupError(f"{file} cannot be read: {error}. Remove it, and try again.") from None
    return models.fit(image, manifest)
