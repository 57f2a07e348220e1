"""``warpguard predict``."""

import argparse
from pathlib import Path
from typing import Any

from service.cli.command import DEFENSE, JSON, STORE, AddParser, add_command, print_json

_PATIENCE_MS = 3_600_000
"""The user can end a command, so it needs no deadline like a server's."""


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "predict", run, DEFENSE, JSON, STORE)
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--model", default="auto", help="a name from 'warpguard models list'")
    parser.add_argument("--draws", type=int, default=1, help="draws to average (default: 1)")
    parser.add_argument("--top-k", type=int, default=5, help="classes to name (default: 5)")


def run(options: argparse.Namespace) -> int:
    """Classify image files behind the defence, without a server.

    For example: warpguard predict cat.jpg dog.png --draws 8
    """
    import asyncio

    from service.settings import MAX_DRAWS

    if not 1 <= options.draws <= MAX_DRAWS:
        options.parser.error(f"--draws must be between 1 and {MAX_DRAWS}")
    if not 1 <= options.top_k <= 1000:
        options.parser.error("--top-k must be between 1 and 1000")
    rows = asyncio.run(_classify(options))
    if options.json:
        print_json(rows)
    else:
        _print_table(rows)
    return 1 if any("error" in row for row in rows) else 0


async def _classify(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a row for each file, with its prediction or its error."""
    from rich.console import Console
    from rich.progress import Progress

    from models import available_cpus
    from service import __version__
    from service.api.answers import prediction
    from service.auth.client import Client
    from service.errors import ServiceError
    from service.predictor import Predictor
    from service.server.run import load_classifier
    from service.settings import ModelSettings, PredictorSettings
    from service.telemetry.metrics import Metrics

    cpus = available_cpus()
    # WARPGUARD_* variables configure servers. These groups of settings do not read them.
    settings = PredictorSettings(
        defense=options.defense, inference_streams=1, deadline_ms=_PATIENCE_MS
    )
    model = ModelSettings(model=options.model, store=options.store, threads_per_inference=cpus)
    predictor = Predictor(load_classifier(model), settings, Metrics(__version__))
    await predictor.start()
    rows: list[dict[str, Any]] = []
    try:
        pipeline, client = settings.pipelines[settings.defense], Client("command line")
        labels = predictor.classifier.manifest.label_names
        console = Console(stderr=True)
        with Progress(console=console, transient=True, disable=len(options.files) < 2) as progress:
            for file in progress.track(options.files, description="classifying"):
                try:
                    body = Path(file).read_bytes()
                    classification = await predictor.predict(
                        body, pipeline, client, draws=options.draws
                    )
                    found = prediction(classification, labels, options.top_k).model_dump()
                except ServiceError as error:
                    found = {"error": error.message}
                except OSError as error:
                    found = {"error": error.strerror or "cannot be read"}
                rows.append({"file": file, **found})
    finally:
        predictor.stop()
    return rows


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    table = Table("file", "class")
    for column in ("probability", "agreement", "ms"):
        table.add_column(column, justify="right")
    for row in rows:
        if "error" in row:
            table.add_row(escape(row["file"]), f"[red]{escape(row['error'])}[/]")
            continue
        ms = f"{row['timings_ms']['total']:.0f}"
        cells = [escape(row["file"]), f"{row['agreement']:.0%}", ms]
        for one in row["predictions"]:
            file, agreement, ms = cells
            table.add_row(file, escape(one["label"]), f"{one['probability']:.3f}", agreement, ms)
            cells = ["", "", ""]  # a file's name is in its first row only
    Console().print(table)
