"""The demonstration: start the service, classify labelled photographs behind the defence, stop it.

Each photograph is also classified without the defence, because the model itself may be wrong. It
exits with 1 if fewer than 15 of the 20 are right, or if the service does not stop in order.
"""

import json
import os
import shlex
import sys
import time
import urllib.request
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

from rich import box
from rich.console import Console
from rich.table import Table

from harness.errors import EndpointError
from harness.server import Server
from models import imagenet_labels

DRAWS = 8
NEEDED_RIGHT = 15
EXAMPLE = 16
"""The photograph in the examples of the documentation."""


Answer: TypeAlias = dict[str, Any]


class Photograph(NamedTuple):
    """A photograph, and the index of its class."""

    file: Path
    label: int

    @property
    def name(self) -> str:
        """What differs between the names of the files: a number, and the class."""
        return self.file.stem.removeprefix("imagenet_")


def labelled() -> list[Photograph]:
    """Return the labelled ImageNet photographs of the package foolbox."""
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        sys.exit("The photographs come with the package foolbox: run 'make demo'.")
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))
    return [Photograph(file, int(file.stem.rpartition("_")[2])) for file in files]


def ask(url: str, body: bytes | None = None) -> bytes:
    """Send a GET request, or a POST request if there is a body, and return the answer's body."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def classify(url: str, query: str, photographs: Sequence[Photograph]) -> list[Answer]:
    """Classify all photographs, one after the other; return the answers, each with its ``ms``."""
    answers = []
    for photograph in photographs:
        started = time.perf_counter()
        answer = json.loads(ask(f"{url}/v1/predict?{query}&top_k=1", photograph.file.read_bytes()))
        (top,) = answer["predictions"]
        ms = 1e3 * (time.perf_counter() - started)
        answers.append(answer | {"top": top, "right": top["index"] == photograph.label, "ms": ms})
    return answers


def print_table(
    photographs: Sequence[Photograph],
    protected: Sequence[Answer],
    bare: Sequence[Answer],
    console: Console,
) -> None:
    """Print a row for each photograph."""
    labels = imagenet_labels()
    table = Table(
        title=f"Protected predictions, {DRAWS} draws each", box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    for column in ("file", "true label", "protected top-1"):
        table.add_column(column, no_wrap=True)
    for column in ("prob.", "agree", "ms"):
        table.add_column(column, justify="right", min_width=4)
    table.add_column("", min_width=5)
    table.add_column("without", min_width=5)
    verdicts = {True: "[green]right[/]", False: "[red]wrong[/]"}
    for photograph, answer, other in zip(photographs, protected, bare, strict=True):
        table.add_row(
            photograph.name,
            labels[photograph.label],
            answer["top"]["label"],
            f"{answer['top']['probability']:.2f}",
            f"{answer['agreement']:.0%}",
            f"{answer['ms']:.0f}",
            verdicts[answer["right"]],
            verdicts[other["right"]],
        )
    console.print(table)
    console.print(f"Model {protected[0]['model']}, defence {protected[0]['defense']}.")


def summarise(
    photographs: Sequence[Photograph],
    protected: Sequence[Answer],
    bare: Sequence[Answer],
    console: Console,
) -> int:
    """Print how many are right, and which ones the model alone gets wrong; return how many."""
    right = sum(answer["right"] for answer in protected)
    without = sum(answer["right"] for answer in bare)
    console.print(
        f"{right} of {len(photographs)} are right behind the defence, and {without} without it."
    )
    pairs = zip(photographs, protected, bare, strict=True)
    both = [each.name for each, one, other in pairs if not one["right"] and not other["right"]]
    if both:
        console.print(f"The model gets these wrong without the defence too: {', '.join(both)}.")
    return right


def print_what_next(photograph: Photograph, console: Console) -> None:
    """Print the next commands, to copy."""
    console.print("\nNext, start the service, and send it a photograph from another terminal:\n")
    for command in (
        "make serve",
        f"cp {shlex.quote(os.path.relpath(photograph.file))} photo.jpg",
        "curl -s --data-binary @photo.jpg 'http://127.0.0.1:8080/v1/predict?draws=8&top_k=2'",
    ):
        console.print(f"  {command}", soft_wrap=True, highlight=False, markup=False)
    console.print("\nREADME.md explains the answer.")


def stage_means(url: str) -> str:
    """Scrape the metrics, and return the mean time of each stage, in ms."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for line in ask(f"{url}/metrics").decode().splitlines():
        name, _, value = line.rpartition(" ")
        stage = name.partition('stage="')[2].partition('"')[0]
        if name.startswith("warpguard_stage_seconds_sum"):
            sums[stage] = float(value)
        elif name.startswith("warpguard_stage_seconds_count"):
            counts[stage] = float(value)
    return ", ".join(f"{s} {1e3 * sums[s] / n:.1f}" for s, n in counts.items() if n)


def main() -> int:
    """Run the demonstration."""
    console, photographs = Console(), labelled()
    service = Server("--log-level", "warning", "--allow-defense", "none")
    console.print(f"Starting the service on {service.url}; the first start builds the model.")
    try:
        with service:
            protected = classify(service.url, f"draws={DRAWS}", photographs)
            metrics = stage_means(service.url)
            bare = classify(service.url, "defense=none", photographs)
    except EndpointError as error:
        sys.exit(str(error))
    code = service.returncode
    print_table(photographs, protected, bare, console)
    right = summarise(photographs, protected, bare, console)
    console.print(f"Scraped /metrics, mean ms for each protected photograph: {metrics}.")
    console.print(f"The service stopped with exit code {code}.")
    if right < NEEDED_RIGHT or code != 0:
        return 1
    print_what_next(photographs[EXAMPLE], console)
    return 0


if __name__ == "__main__":
    sys.exit(main())
