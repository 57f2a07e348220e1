"""Manage the models and their store.

For example: warpguard models list
"""

import argparse
import sys
from pathlib import Path
from typing import Any

import models  # loads its modules when their names are first used
from service.cli import quantize
from service.cli.command import JSON, STORE, AddParser, add_command, print_json, shared

_MAX_SECONDS = 86_400


def register(add_parser: AddParser) -> None:
    """Add the command to the parser, with its actions."""
    group = add_command(add_parser, "models", None, text=__doc__)
    actions = group.add_subparsers(title="actions", dest="action", metavar="ACTION").add_parser
    name = shared("name", metavar="NAME")
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    add_command(actions, "list", _list, JSON, STORE)
    add_command(actions, "show", _show, name, JSON, STORE)
    pull = add_command(actions, "pull", _pull, name, STORE)
    pull.add_argument("--weights", **file, help="a .safetensors or .pth file; no download")
    pull.add_argument("--revision", default="main", help="branch, tag or commit (default: main)")
    pull.add_argument("--force", action="store_true", help="pull again, and accept other weights")
    pull.add_argument("--quiet", action="store_true", help="show no progress bar")
    add = add_command(actions, "add", _add, name, STORE)
    add.add_argument("--onnx", required=True, **file, help="the graph")
    add.add_argument("--manifest", required=True, **file, help="the graph's manifest, JSON")
    limit = "how long the model may take to be verified (default: 60)"
    add.add_argument("--timeout-seconds", type=seconds, metavar="S", default=60.0, help=limit)
    add_command(actions, "remove", _remove, name, STORE)
    quantize.register(actions, name)


def seconds(text: str) -> float:
    """Read a number of seconds.

    Raises:
        ArgumentTypeError: it is not a number in the allowed range.
    """
    value = float(text)
    if not 0 < value <= _MAX_SECONDS:
        raise argparse.ArgumentTypeError(f"must be more than 0 and at most {_MAX_SECONDS}")
    return value


def _list(options: argparse.Namespace) -> None:
    """List the models of the catalogue and of the store.

    For example: warpguard models list --json
    """
    store = models.Store(options.store)
    stored = store.names()
    served = models.resolve(store, "auto")
    rows = []
    for name in dict.fromkeys((*models.CATALOG, *stored)):
        manifest = models.manifest_of(store, name)
        embedded = name in models.CATALOG and models.CATALOG[name].embedded
        state = "in the store" if name in stored else "embedded" if embedded else "to be pulled"
        row: dict[str, Any] = {"name": name, "state": state, "auto": name == served}
        row["precision"], row["precision_reason"] = models.expected(manifest)
        row |= {"side_px": manifest.input.height_px, "classes": len(manifest.label_names)}
        rows.append(row | manifest.model_dump(include={"reported_top1", "licence", "source"}))
    if options.json:
        print_json(rows)
    else:
        _print_table(rows)


def _print_table(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.table import Column, Table

    table = Table(
        Column("name", no_wrap=True), "state", "precision", "px", "classes", "top-1", "licence"
    )
    table.caption = "'auto' takes the model that is marked *."
    for row in rows:
        name = f"{row['name']} *" if row["auto"] else row["name"]
        sizes = str(row["side_px"]), str(row["classes"])
        top1 = "" if row["reported_top1"] is None else f"{row['reported_top1']:.1%}"
        table.add_row(name, row["state"], row["precision"] or "?", *sizes, top1, row["licence"])
    Console().print(table)


def _show(options: argparse.Namespace) -> None:
    """Show a model's manifest. It is JSON, with --json and without.

    For example: warpguard models show inception-v3
    """
    store = models.Store(options.store)
    name = models.resolve(store, "auto") if options.name == "auto" else options.name
    manifest = models.manifest_of(store, name)
    precision, reason = models.expected(manifest)
    print_json(manifest.model_dump(mode="json"))
    known = f"takes {precision}" if precision else "is not known yet"
    sys.stderr.write(f"--precision auto {known}: {reason}\n")


def _pull(options: argparse.Namespace) -> None:
    """Fetch a model's weights from the Hugging Face hub, or take them from a file.

    For example: warpguard models pull inception-v3
    With a file: warpguard models pull inception-v3 --weights model.safetensors
    """
    from rich.console import Console

    store, name, force = models.Store(options.store), options.name, options.force
    if options.weights is None:
        models.pull(store, name, revision=options.revision, force=force, quiet=options.quiet)
    else:
        with Console(stderr=True).status(f"building {name}"):
            models.install(store, name, options.weights, force=force)
    sys.stdout.write(f"{name} is in the store {store.root}\n")


def _add(options: argparse.Namespace) -> None:
    """Add an ONNX image classifier of your own.

    For example: warpguard models add mine --onnx mine.onnx --manifest mine.json
    """
    store = models.Store(options.store)
    manifest = models.Manifest.read(options.manifest)
    models.add(store, options.name, options.onnx, manifest, timeout_s=options.timeout_seconds)
    sys.stdout.write(f"{options.name} is in the store {store.root}\n")


def _remove(options: argparse.Namespace) -> None:
    """Remove a model from the store.

    For example: warpguard models remove mine
    """
    models.Store(options.store).remove(options.name)
    sys.stdout.write(f"{options.name} is no longer in the store\n")
