"""Measure clean accuracy over HTTP, on a folder of labelled photographs.

The folder has a ``labels.csv`` with the columns ``file`` and ``label``, a class index from 0.
"""

import csv
import http.client
import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from benchmarks.server import ask, serving
from benchmarks.timing import Result

RUNS = (
    # query, target for the embedded model in percent
    ("defense=none", 93.0),
    ("defense=fd%2Brdg", 89.0),
    ("defense=fd%2Brand", 85.0),
    ("defense=fd%2Brdg&draws=8", None),
)


def measure(folder: Path, limit: int | None) -> list[Result]:
    """Post every photograph once with each defence, and return the top-1 accuracies in percent."""
    with (folder / "labels.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))[:limit]
    photographs = [((folder / row["file"]).read_bytes(), int(row["label"])) for row in rows]
    percent: dict[str, float] = {}
    total = len(RUNS) * len(photographs)
    with (
        serving("--allow-defense", "none fd+rand") as server,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("classifying", total=total)
        for query, _ in RUNS:

            def right(photograph: tuple[bytes, int], query: str = query) -> bool:
                connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=120)
                answer = json.loads(ask(connection, f"/v1/predict?{query}", photograph[0]))
                connection.close()
                progress.advance(task)
                return bool(answer["predictions"][0]["index"] == photograph[1])

            with ThreadPoolExecutor(4) as pool:
                percent[query] = 100 * sum(pool.map(right, photographs)) / len(photographs)
    results = []
    for query, target_percent in RUNS:
        name = f"{query.replace('%2B', '+')}, {len(photographs)} photographs"
        target = f">= {target_percent:g} %" if target_percent else ""
        met = target_percent is None or percent[query] >= target_percent
        results.append(Result(name, percent[query], "%", target, met))
    gain = percent["defense=fd%2Brdg&draws=8"] - percent["defense=fd%2Brdg"]
    results.append(Result("fd+rdg: 8 draws against 1", gain, "points", ">= 0", gain >= 0))
    return results
