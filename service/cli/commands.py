"""What the commands other than ``serve`` do. Each returns an exit code."""

import argparse
import asyncio
import json
import sys
from pathlib import Path
from random import SystemRandom
from typing import Any

from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from defenses import Pipeline
from models import (
    CATALOG,
    Manifest,
    Store,
    add,
    available_cpus,
    install,
    manifest_of,
    pull,
    resolve,
)
from service import __version__
from service.api.answers import prediction
from service.api.schemas import Prediction
from service.auth import key_file
from service.cli import defense_table as listing
from service.errors import ServiceError
from service.images.decode import decode, encode_png
from service.predictor import Predictor
from service.server.run import load_classifier
from service.settings import MAX_DRAWS, Settings
from service.telemetry.metrics import Metrics

_out = Console()
_err = Console(stderr=True)


class _Given(Settings):
    """Settings for this process alone: what the environment says of a server is not meant."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is given in the call."""
        del settings_cls, env_settings, dotenv_settings, file_secret_settings
        return (init_settings,)


def predict(options: argparse.Namespace) -> int:
    """Classify files in this process; 1 when one of them could not be."""
    if not 1 <= options.draws <= MAX_DRAWS or not 1 <= options.top_k <= 1000:
        _err.print(f"warpguard: --draws is 1…{MAX_DRAWS}, --top-k is 1…1000")
        return 2
    settings = _Given(
        model=options.model,
        defense=options.defense,
        store=options.store,
        inference_streams=1,
        threads_per_inference=available_cpus(),
    )
    results = asyncio.run(_predict(settings, options))
    errors = sum(isinstance(result, str) for result in results)
    if options.json:
        _print_json(
            [
                {"file": file, "error": result}
                if isinstance(result, str)
                else {"file": file, **result.model_dump()}
                for file, result in zip(options.files, results, strict=True)
            ]
        )
        return 1 if errors else 0
    table = Table()
    for column in ("file", "class", "probability", "agreement", "ms"):
        table.add_column(column, justify="left" if column in ("file", "class") else "right")
    for file, result in zip(options.files, results, strict=True):
        if isinstance(result, str):
            table.add_row(escape(file), f"[red]{escape(result)}[/]", "", "", "")
            continue
        for position, one in enumerate(result.predictions):
            first = position == 0
            table.add_row(
                escape(file) if first else "",
                escape(one.label),
                f"{one.probability:.3f}",
                f"{result.agreement:.0%}" if first else "",
                f"{result.timings_ms.total:.0f}" if first else "",
            )
    _out.print(table)
    return 1 if errors else 0


async def _predict(settings: Settings, options: argparse.Namespace) -> list[Prediction | str]:
    predictor = Predictor(load_classifier(settings), settings, Metrics(__version__))
    await predictor.start()
    results: list[Prediction | str] = []
    try:
        pipeline = Pipeline.parse(settings.defense)
        labels = predictor.classifier.manifest.label_names
        with Progress(console=_err, transient=True, disable=len(options.files) < 2) as progress:
            for file in progress.track(options.files, description="classifying"):
                try:
                    body = Path(file).read_bytes()
                    classification = await predictor.predict(body, pipeline, draws=options.draws)
                except ServiceError as error:
                    results.append(error.message)
                except OSError as error:
                    results.append(error.strerror or "cannot be read")
                else:
                    results.append(prediction(classification, labels, options.top_k))
    finally:
        predictor.stop()
    return results


def defend(options: argparse.Namespace) -> int:
    """Defend one file."""
    pipeline = Pipeline.parse(options.defense)
    image = decode(Path(options.file).read_bytes(), max_pixels=10**9)
    defended = pipeline(image, SystemRandom())
    Path(options.output).write_bytes(encode_png(defended))
    return 0


def defenses(options: argparse.Namespace) -> int:
    """List the operations that a defence can be made of."""
    rows = listing.rows()
    if options.json:
        _print_json(rows)
    else:
        _out.print(listing.table(rows))
    return 0


def models_list(options: argparse.Namespace) -> int:
    """List the catalogue and the models of the store."""
    store = Store(_folder(options))
    stored = store.names()
    served = resolve(store, "auto")
    rows: list[dict[str, Any]] = []
    for name in dict.fromkeys((*CATALOG, *stored)):
        manifest = manifest_of(store, name)
        embedded = name in CATALOG and CATALOG[name].embedded
        ready = "in the store" if name in stored else "embedded" if embedded else "to be pulled"
        rows.append(
            {
                "name": name,
                "state": ready,
                "auto": name == served,
                "side_px": manifest.input.height_px,
                "classes": len(manifest.label_names),
                "reported_top1": manifest.reported_top1,
                "licence": manifest.licence,
                "source": manifest.source,
            }
        )
    if options.json:
        _print_json(rows)
        return 0
    table = Table(caption="auto takes the one marked *.")
    for column in ("name", "state", "px", "classes", "top-1", "licence"):
        table.add_column(column)
    for row in rows:
        top1 = row["reported_top1"]
        table.add_row(
            f"{row['name']} *" if row["auto"] else row["name"],
            row["state"],
            str(row["side_px"]),
            str(row["classes"]),
            "" if top1 is None else f"{top1:.1%}",
            row["licence"],
        )
    _out.print(table)
    return 0


def models_show(options: argparse.Namespace) -> int:
    """Print a model's manifest."""
    store = Store(_folder(options))
    name = resolve(store, "auto") if options.name == "auto" else options.name
    _print_json(manifest_of(store, name).model_dump(mode="json"))
    return 0


def models_pull(options: argparse.Namespace) -> int:
    """Fetch weights, or take them from a file, and build the model."""
    store = Store(_folder(options))
    if options.weights is not None:
        with _err.status(f"building {options.name}"):
            manifest = install(store, options.name, Path(options.weights), force=options.force)
    else:
        manifest = pull(
            store,
            options.name,
            revision=options.revision,
            force=options.force,
            quiet=options.quiet,
        )
    _out.print(f"{manifest.name} is in the store {store.root}", soft_wrap=True, highlight=False)
    return 0


def models_add(options: argparse.Namespace) -> int:
    """Add an ONNX file and its manifest to the store."""
    store = Store(_folder(options))
    manifest = Manifest.read(Path(options.manifest))
    added = add(store, options.name, Path(options.onnx), manifest)
    _out.print(f"{added.name} is in the store {store.root}", soft_wrap=True, highlight=False)
    return 0


def models_remove(options: argparse.Namespace) -> int:
    """Take a model out of the store."""
    Store(_folder(options)).remove(options.name)
    _out.print(f"{options.name} is no longer in the store", highlight=False)
    return 0


def keys_new(options: argparse.Namespace) -> int:
    """Make an API key; print it, and its line unless that is added to a file."""
    given = {"rate": options.rate, "burst": options.burst}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    key, line = key_file.new(options.name, " ".join(words))
    if options.file is not None:
        key_file.append(Path(options.file), line)
    sys.stdout.write(f"{key}\n" if options.file is not None else f"{key}\n{line}\n")
    return 0


def _folder(options: argparse.Namespace) -> Path | None:
    return None if options.store is None else Path(options.store)


def version(_: argparse.Namespace) -> int:
    """Print the version."""
    _out.print(f"warpguard {__version__}", highlight=False)
    return 0


def _print_json(value: Any) -> None:
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
