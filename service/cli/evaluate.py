"""``warpguard evaluate``."""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from service.cli.command import STORE, AddParser, add_command
from service.errors import SetupError

if TYPE_CHECKING:
    from service.evaluate.conditions import Condition
    from service.evaluate.outcomes import Subject


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "evaluate", run, STORE)
    file: dict[str, Any] = {"type": Path, "metavar": "FILE"}
    parser.add_argument(
        "--data",
        type=Path,
        required=True,
        metavar="DIR",
        help="labelled images: a labels.csv (file,label), or a folder for each class",
    )
    parser.add_argument("--model", help="a name from 'warpguard models list' (default: auto)")
    parser.add_argument(
        "--defense",
        action="append",
        metavar="D",
        help="defence to measure; may be given several times, the preferred one first (default: "
        "fd+rdg, fd+rand, rdg, fd). none is always measured",
    )
    parser.add_argument(
        "--draws", default="1,8", metavar="N,N", help="numbers of draws to average (default: 1,8)"
    )
    parser.add_argument("--limit", type=int, metavar="N", help="images to take (default: all)")
    parser.add_argument(
        "--seed", type=int, default=0, metavar="N", help="chooses the draws (default: 0)"
    )
    parser.add_argument(
        "--keep",
        type=float,
        default=0.95,
        metavar="SHARE",
        help="the part of the accuracy that a recommended defence keeps (default: 0.95)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="keep the answers here, and go on from them"
    )
    parser.add_argument("--json", **file, help="write all figures")
    parser.add_argument("--html", **file, help="write a page with a chart")
    parser.add_argument("--endpoint", metavar="URL", help="a running 'warpguard serve'")
    parser.add_argument("--api-key-file", **file, help="file with the endpoint's key alone")


def run(options: argparse.Namespace) -> None:
    """Measure what a defence costs on images of your own, and recommend one.

    For example: warpguard evaluate --data photos/ --out results/ --html results/report.html
    """
    from rich.console import Console

    from models import write_atomically
    from service.evaluate import data, text
    from service.evaluate.conditions import DEFENSES, conditions
    from service.evaluate.measure import measure
    from service.evaluate.page import html
    from service.evaluate.progress import progress
    from service.evaluate.recommendation import recommend
    from service.evaluate.report import report
    from service.evaluate.state import State

    draws = _draws(options)
    if options.limit is not None and options.limit < 1:
        options.parser.error("--limit must be 1 or more")
    if not 0 < options.keep <= 1:
        options.parser.error("--keep must be more than 0 and at most 1")
    if options.endpoint is not None and options.model is not None:
        options.parser.error(
            "--model is for a model in this process; the endpoint has a model of its own"
        )
    for output in filter(None, (options.json, options.html)):
        is_there = output.parent.is_dir() or output.parent == options.out  # which is made
        if not is_there:  # an error now, rather than after minutes of work
            raise SetupError(
                f"{output} cannot be written: the folder {output.parent} does not exist."
            )
    chosen = conditions(options.defense or DEFENSES, corruptions=options.endpoint is None)
    console = Console(stderr=True)
    subject = _subject(options, draws, chosen)
    try:
        images = data.read(options.data, subject.classes, subject.labels, options.limit)
        with (
            State.opened(options.out, subject.identity) as state,
            progress(console, len(images.images), resumable=options.out is not None) as shown,
        ):
            measured = measure(
                images, subject, chosen, state, on_first=shown.estimate, on_image=shown.done
            )
    finally:
        subject.close()
    found = report(images, measured, chosen, subject, keep=options.keep)
    if options.json is not None:
        document = found.model_dump(mode="json")
        document["recommendation"] = recommend(found).document()
        written = json.dumps(document, indent=1, ensure_ascii=False)
        write_atomically(options.json, f"{written}\n".encode())
    if options.html is not None:
        write_atomically(options.html, html(found).encode())
    Console().print(text.terminal(found))


def _draws(options: argparse.Namespace) -> list[int]:
    """Read the numbers of draws, from the least."""
    from service.settings import MAX_DRAWS

    words = options.draws.split(",")
    if not all(word.strip().isdecimal() and 1 <= int(word) <= MAX_DRAWS for word in words):
        options.parser.error(f"--draws must be numbers from 1 to {MAX_DRAWS}, such as 1,4,8")
    return sorted({int(word) for word in words})


def _subject(
    options: argparse.Namespace, draws: list[int], chosen: "Sequence[Condition]"
) -> "Subject":
    from models import ModelError, Store, manifest_of

    if options.endpoint is None:
        from service.evaluate.local import LocalModel
        from service.server.run import load_classifier
        from service.settings import ModelSettings

        # WARPGUARD_* variables configure servers. This group of settings does not read them.
        settings = ModelSettings(model=options.model or "auto", store=options.store)
        return LocalModel(load_classifier(settings), draws, options.seed)

    from service.evaluate.endpoint import Endpoint

    def labels_of(name: str, sha256: str | None) -> Sequence[str] | None:
        try:
            manifest = manifest_of(Store(options.store), name)
        except ModelError:
            return None
        is_same = None in (sha256, manifest.sha256) or sha256 == manifest.sha256
        return manifest.label_names if is_same else None

    return Endpoint(options.endpoint, draws, chosen, _key(options.api_key_file), labels_of)


def _key(file: Path | None) -> str | None:
    if file is None:
        return None
    try:
        (key,) = file.read_text("utf-8").split()
    except (OSError, ValueError):
        raise SetupError(f"--api-key-file {file} must be a file with the key alone.") from None
    return key
