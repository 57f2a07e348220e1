"""The demonstration: start the service, classify labelled photographs behind the defence, stop it.

It exits with 1 if fewer than 15 of the 20 are right, or if the service does not stop in order.
"""

import json
import sys
import time
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from harness.errors import EndpointError
from harness.server import Server
from models import imagenet_labels

DRAWS = 8
NEEDED_RIGHT = 15


def photographs() -> list[tuple[Path, int]]:
    """Return the labelled ImageNet photographs of the package foolbox: (file, class index)."""
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        sys.exit("The photographs come with the package foolbox: run 'make demo'.")
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))
    return [(file, int(file.stem.rpartition("_")[2])) for file in files]


def ask(url: str, body: bytes | None = None) -> bytes:
    """Send a GET request, or a POST request if there is a body, and return the answer's body."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def classify(url: str, console: Console) -> tuple[int, int]:
    """Classify all photographs and print the table; return (right, all)."""
    labels = imagenet_labels()
    table = Table(
        title=f"Protected predictions, {DRAWS} draws each", box=box.SIMPLE, padding=(0, 1, 0, 0)
    )
    for column in ("file", "true label", "protected top-1"):
        table.add_column(column, no_wrap=True)
    for column in ("prob.", "agree", "ms", ""):
        table.add_column(column, justify="right", min_width=5)
    right = 0
    answer: dict[str, object] = {}
    for file, label in (chosen := photographs()):
        started = time.perf_counter()
        answer = json.loads(ask(f"{url}/v1/predict?draws={DRAWS}&top_k=1", file.read_bytes()))
        latency_ms = 1e3 * (time.perf_counter() - started)
        (top,) = answer["predictions"]  # type: ignore[misc]
        hit = top["index"] == label
        right += hit
        table.add_row(
            file.name,
            labels[label],
            top["label"],
            f"{top['probability']:.2f}",
            f"{answer['agreement']:.0%}",
            f"{latency_ms:.0f}",
            "[green]right[/]" if hit else "[red]wrong[/]",
        )
    console.print(table)
    console.print(f"Model {answer['model']}, defence {answer['defense']}.")
    return right, len(chosen)


def summarise_metrics(url: str, console: Console) -> None:
    """Scrape the metrics, and print the mean time of each stage."""
    sums: dict[str, float] = {}
    counts: dict[str, float] = {}
    for line in ask(f"{url}/metrics").decode().splitlines():
        name, _, value = line.rpartition(" ")
        stage = name.partition('stage="')[2].partition('"')[0]
        if name.startswith("warpguard_stage_seconds_sum"):
            sums[stage] = float(value)
        elif name.startswith("warpguard_stage_seconds_count"):
            counts[stage] = float(value)
    means = [f"{s} {1e3 * sums[s] / n:.1f}" for s, n in counts.items() if n]
    console.print(f"Scraped /metrics, mean ms for each photograph: {', '.join(means)}.")


def main() -> int:
    """Run the demonstration."""
    console = Console()
    service = Server("--log-level", "warning")
    console.print(f"Starting the service on {service.url}; the first start builds the model.")
    try:
        with service:
            right, total = classify(service.url, console)
            summarise_metrics(service.url, console)
    except EndpointError as error:
        sys.exit(str(error))
    code = service.returncode
    console.print(f"{right} of {total} right; the service stopped with exit code {code}.")
    return 0 if right >= NEEDED_RIGHT and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
