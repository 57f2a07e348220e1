"""``warpguard calibrate``."""

import argparse
import math
import sys
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.command import DEFENSE, STORE, AddParser, add_command

if TYPE_CHECKING:
    from defenses import Pipeline
    from models import Manifest
    from service.signals.calibration import Calibration, Coverage
    from service.signals.measure import Measured
    from service.signals.seen import Seen

_PATIENCE_MS = 3_600_000
"""The user can end a command, so it needs no deadline like a server's."""


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "calibrate", run, DEFENSE, STORE)
    parser.add_argument(
        "--data", type=Path, required=True, metavar="DIR", help="folder of clean images"
    )
    parser.add_argument("--model", default="auto", help="a name from 'warpguard models list'")
    parser.add_argument(
        "--draws", type=int, default=8, metavar="N", help="draws of an image (default: 8)"
    )
    parser.add_argument(
        "--false-alarms",
        default="0.01",
        metavar="SHARE",
        help="share of such images that squeeze may flag (default: 0.01)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("calibration.json"),
        metavar="FILE",
        help="file to write (default: calibration.json)",
    )


def run(options: argparse.Namespace) -> None:
    """Set the thresholds of the signals on clean images of your own, for serve --calibration.

    For example: warpguard calibrate --data photos/ --out calibration.json

    The images are classified here, without a server. If the folder has a labels.csv with the
    columns file and label (a class from 0), the errors by --min-agreement are shown too.
    """
    import asyncio

    from defenses import Pipeline
    from service.cli.folder import images_in
    from service.settings import MAX_DRAWS
    from service.signals.calibration import CalibrationError
    from service.signals.conformal import as_rate
    from service.signals.measure import calibrate

    if not 1 <= options.draws <= MAX_DRAWS:
        options.parser.error(f"--draws must be between 1 and {MAX_DRAWS}")
    try:
        false_alarms = as_rate(options.false_alarms)
    except ValueError as error:
        options.parser.error(f"--false-alarms: {error}")
    pipeline = Pipeline.parse(options.defense)
    if not pipeline.operations:
        options.parser.error(
            "--defense none leaves nothing to calibrate: name the server's defence"
        )
    out: Path = options.out
    if out.is_dir() or not out.parent.is_dir():  # an error now, rather than after the work
        why = "it is a folder" if out.is_dir() else f"the folder {out.parent} does not exist"
        raise CalibrationError(f"{out} cannot be written: {why}.")
    images = images_in(options.data)
    _check_enough(len(images), "images", false_alarms)
    manifest, measured = asyncio.run(_measure(options, pipeline, images))
    _check_enough(len(measured), "different images that can be read", false_alarms)
    calibration = calibrate(
        measured, manifest, pipeline, draws=options.draws, false_alarms=false_alarms
    )
    calibration.write(out)
    sys.stdout.write("\n".join(_summary(calibration, out)) + "\n")
    _print_table(calibration.agreement, has_labels=any(m.right is not None for m in measured))


def _check_enough(images: int, what: str, false_alarms: Fraction) -> None:
    """Make sure that a threshold can be promised; otherwise nothing is written."""
    from service.signals.calibration import CalibrationError
    from service.signals.conformal import least_images

    needed = least_images(false_alarms)
    if images < needed:
        possible = math.ceil(10_000 / (images + 1)) / 10_000
        raise CalibrationError(
            f"{images} {what} are too few: a share of {float(false_alarms):.4g} needs {needed}. "
            f"Add images, or give --false-alarms {possible:g} or more. Nothing was written."
        )


class _Recorder:
    """Keeps images as the signals of a server see them."""

    def __init__(self) -> None:
        self.seen: list[Seen] = []

    def signals_for(self, _: frozenset[str] | None) -> frozenset[str]:
        from service.signals.names import SIGNALS

        return frozenset(SIGNALS)

    def threshold(self, _: "Manifest", __: "Pipeline") -> float | None:
        return None

    def see(self, seen: "Seen") -> None:
        self.seen.append(seen)


async def _measure(
    options: argparse.Namespace, pipeline: "Pipeline", images: Sequence[Path]
) -> "tuple[Manifest, list[Measured]]":
    """Run each image through the spine, and once more without the defence."""
    import hashlib

    from rich.console import Console
    from rich.progress import Progress

    from models import available_cpus
    from service import __version__
    from service.auth.client import Client
    from service.cli.folder import labels_in
    from service.errors import ServiceError
    from service.predictor import Predictor
    from service.server.run import load_classifier
    from service.settings import ModelSettings, PredictorSettings
    from service.signals.fingerprint import block_means
    from service.signals.measure import Measured
    from service.signals.squeeze import distance
    from service.telemetry.metrics import Metrics

    # WARPGUARD_* variables configure servers. These groups of settings do not read them.
    settings = PredictorSettings(
        defense=options.defense, inference_streams=1, deadline_ms=_PATIENCE_MS
    )
    cpus = available_cpus()
    model = ModelSettings(model=options.model, store=options.store, threads_per_inference=cpus)
    classifier, recorder = load_classifier(model), _Recorder()
    manifest = classifier.manifest
    labels = labels_in(options.data, images, len(manifest.label_names))
    predictor = Predictor(classifier, settings, Metrics(__version__), recorder)

    async def measure(body: bytes, label: int | None) -> Measured:
        client = Client("command line")
        answer = await predictor.predict(body, pipeline, client, draws=options.draws)
        for work in client.afterwards:
            work()
        seen = recorder.seen.pop()
        bare = await seen.infer(seen.image)
        return Measured(
            distance=distance(bare, seen.scores, manifest),
            agreement=answer.agreement,
            right=None if label is None else bool(answer.probabilities.argmax() == label),
            means=block_means(seen.image),
            scores=seen.scores.copy(),
        )

    measured: list[Measured] = []
    digests: set[bytes] = set()
    failed = again = 0
    await predictor.start()
    try:
        console = Console(stderr=True)
        shown = console.is_terminal
        with Progress(console=console, transient=True, disable=not shown) as progress:
            for image in progress.track(images, description="classifying"):
                try:
                    body = image.read_bytes()
                    digest = hashlib.sha256(body).digest()
                    if digest in digests:
                        again += 1
                        continue
                    digests.add(digest)
                    measured.append(await measure(body, labels.get(image)))
                except (ServiceError, OSError) as error:
                    failed += 1
                    why = error.strerror if isinstance(error, OSError) else str(error)
                    progress.console.print(f"{image}: {why}", markup=False, highlight=False)
    finally:
        predictor.stop()
    if failed or again:
        sys.stderr.write(
            f"warpguard: of {len(images)} files {failed} cannot be read, and {again} are "
            "bit-identical with others: they do not count\n"
        )
    return manifest, measured


def _summary(calibration: "Calibration", out: Path) -> Iterator[str]:
    """Yield what was found, a line for each signal."""
    from service.signals.episode import FIRST_LEVEL
    from service.signals.names import CONCENTRATION
    from service.signals.neighbors import LEAST_COSINE
    from service.signals.window import WINDOW

    squeeze, concentration = calibration.squeeze, calibration.concentration
    yield (
        f"{out}: {calibration.model.name} behind {calibration.defense.name}, "
        f"{calibration.images} images"
    )
    yield (
        f"squeeze: distances over {squeeze.threshold:.3f} are flagged, at most "
        f"{100 * calibration.false_alarms:.3g} % of further images like these on average"
    )
    yield (
        f"  (with these {calibration.images} images between {100 * squeeze.rate_low:.2g} and "
        f"{100 * squeeze.rate_high:.2g} %, at 95 % confidence)"
    )
    signals = {"same-picture": calibration.same_picture}
    if concentration is not None:
        least_cosine = concentration.least_cosine
        yield (
            f"concentration: images count as alike from a cosine of {least_cosine:g} (shipped: "
            f"{LEAST_COSINE:g}; a higher one sees less)"
        )
        signals[CONCENTRATION] = concentration
    for name, found in signals.items():
        yield (
            f"{name}: on average an image is like {found.mean:.2g} of {WINDOW} others, at most "
            f"like {found.most:.2g} (scaled from {calibration.images - 1} others); {FIRST_LEVEL} "
            "raise an event"
        )
        if found.most >= FIRST_LEVEL:
            yield f"  Ordinary images would raise events: leave {name} out of --alarm."
    yield "All of this is about clean images like these, and says nothing about attacks."


def _print_table(rows: "Sequence[Coverage]", *, has_labels: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("--min-agreement")
    table.add_column("unsure answers", justify="right")
    if has_labels:
        table.add_column("wrong among the others", justify="right")
    for row in rows:
        wrong = "" if row.wrong is None else f"{100 * row.wrong:.1f} %"
        cells = [f"{row.min_agreement:g}", f"{100 * row.unsure:.1f} %", wrong]
        table.add_row(*cells[: len(table.columns)])
    console = Console()
    console.print(table)
    console.print(
        "An attack that knows the defence gets full agreement: a sure answer is not a safe one.",
        highlight=False,
    )
