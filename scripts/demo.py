"""The demonstration: start the service, classify labelled photographs behind the defence, stop it.

Exits with 1 when fewer than 15 of the 20 are right, or when the service does not behave.
"""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from importlib.util import find_spec
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table

from models import imagenet_labels

DRAWS = 8
NEEDED_RIGHT = 15
START_LIMIT_S = 180.0


def photographs() -> list[tuple[Path, int]]:
    """The labelled ImageNet photographs that the package foolbox ships: (file, class index)."""
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        sys.exit("The photographs come with the package foolbox: run 'make demo'.")
    files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))
    return [(file, int(file.stem.rpartition("_")[2])) for file in files]


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def ask(url: str, body: bytes | None = None) -> bytes:
    """GET, or POST a body."""
    request = urllib.request.Request(url, body, {"Content-Type": "application/octet-stream"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return bytes(answer.read())


def wait_until_ready(url: str, service: "subprocess.Popen[bytes]") -> None:
    """Return once the service is ready; give up when it stops or takes too long."""
    give_up = time.monotonic() + START_LIMIT_S
    while time.monotonic() < give_up:
        if service.poll() is not None:
            sys.exit(f"The service stopped with exit code {service.returncode}; see above.")
        try:
            ask(f"{url}/readyz")
            return
        except (urllib.error.URLError, ConnectionError):
            time.sleep(0.1)
    sys.exit(f"The service was not ready after {START_LIMIT_S:g} s.")


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
    """Scrape the metrics and print each stage's mean."""
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
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    console.print(f"Starting the service on {url}; the first start builds the model's graph.")
    command = [
        sys.executable,
        "-m",
        "service",
        "serve",
        "--port",
        str(port),
        "--log-level",
        "warning",
    ]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("WARPGUARD_")}
    service = subprocess.Popen(command, env=environment)
    try:
        wait_until_ready(url, service)
        right, total = classify(url, console)
        summarise_metrics(url, console)
    finally:
        service.send_signal(signal.SIGTERM)
        try:
            code = service.wait(60)
        except subprocess.TimeoutExpired:
            service.kill()
            code = service.wait()
    console.print(f"{right} of {total} right; the service stopped with exit code {code}.")
    return 0 if right >= NEEDED_RIGHT and code == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
