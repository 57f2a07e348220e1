"""Measure speed and accuracy, and print the figures: ``python -m benchmarks [NAME …]``."""

import argparse
import json
import multiprocessing
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks import (
    accuracy,
    defenses,
    fairness,
    health,
    layer,
    overhead,
    properties,
    serving,
    signals,
)
from benchmarks.timing import Result

SPEED: dict[str, Callable[[], list[Result]]] = {
    "defenses": defenses.measure,
    "overhead": overhead.measure,
    "health": health.measure,
    "layer": layer.measure,
}

LOAD: dict[str, Callable[[], list[Result]]] = {
    "serving": serving.measure,
    "fairness": fairness.measure,
    "signals": signals.measure,
}

ON_PHOTOGRAPHS: dict[str, Callable[[Path, int | None], list[Result]]] = {
    "accuracy": accuracy.measure,
    "properties": properties.measure,
}


def main() -> int:
    """Run benchmarks, and return 1 if a target is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure speed and accuracy, and print the figures.",
    )
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=(f"{', '.join((*SPEED, *LOAD))}, accuracy or properties (default: the first four)"),
    )
    parser.add_argument(
        "--data", type=Path, help="folder with labels.csv and images, for accuracy and properties"
    )
    parser.add_argument(
        "--limit", type=int, help="use only the first images, for accuracy and properties"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    console = Console(width=110 if not sys.stdout.isatty() else None)
    missed = 0
    for name in options.names or SPEED:
        if name in ON_PHOTOGRAPHS:
            if options.data is None:
                parser.error(f"{name} needs --data DIR")
            results = ON_PHOTOGRAPHS[name](options.data, options.limit)
        elif name in LOAD:
            results = LOAD[name]()
        elif name in SPEED:
            # Each runs in its own process, so that its core and threads do not affect the next one.
            with multiprocessing.get_context("spawn").Pool(1) as pool:
                results = pool.apply(SPEED[name]) if name != "health" else SPEED[name]()
        else:
            names = ", ".join((*SPEED, *LOAD, *ON_PHOTOGRAPHS))
            parser.error(f"unknown benchmark {name!r}; the benchmarks are {names}")
        missed += sum(not result.met for result in results)
        if options.json:
            print(json.dumps({name: [asdict(result) for result in results]}))
        else:
            _print(console, name, results)
    return 1 if missed else 0


def _print(console: Console, name: str, results: list[Result]) -> None:
    table = Table(title=name)
    for column in ("measured", "figure", "", "target", ""):
        table.add_column(column, justify="right" if column == "figure" else "left")
    for result in results:
        verdict = "" if not result.target else "[green]met[/]" if result.met else "[red]missed[/]"
        table.add_row(result.name, f"{result.value:.4g}", result.unit, result.target, verdict)
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
