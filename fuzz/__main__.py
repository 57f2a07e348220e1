"""Run all parts of the fuzzing for a fixed time, and print the tally: ``python -m fuzz``."""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.table import Table

from benchmarks.server import serving
from fuzz.over_http import CORPUS, from_schema, post_mutated

COVERAGE_GUIDED = {"image": "image", "container": "image", "oip": "oip"}  # and their corpora


def guided(name: str, seconds: int, seed: int) -> tuple[int, str]:
    """Run a coverage-guided target, and return how many bodies it tried and its error output."""
    with tempfile.TemporaryDirectory() as folder:
        corpus = Path(folder, "corpus")
        shutil.copytree(CORPUS / COVERAGE_GUIDED[name], corpus)
        command = [sys.executable, "-m", "fuzz.targets", name, str(corpus)]
        command += [f"-max_total_time={seconds}", f"-seed={seed}", f"-artifact_prefix={folder}/"]
        command += ["-max_len=65536", "-rss_limit_mb=4096", "-timeout=10", "-print_final_stats=1"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    executed = re.search(r"stat::number_of_executed_units:\s*(\d+)", done.stderr)
    problem = "" if done.returncode == 0 else done.stderr[-3000:]
    return int(executed[1]) if executed else 0, problem


def main() -> int:
    """Run all parts, and return 1 if anything crashed or got a 5xx status."""
    parser = argparse.ArgumentParser(
        prog="python -m fuzz",
        description="Send malformed bodies for a fixed time, and print the tally.",
    )
    parser.add_argument(
        "--seconds",
        type=int,
        default=120,
        help="time for each of image, container, oip, http (default: 120)",
    )
    parser.add_argument(
        "--examples",
        type=int,
        default=200,
        help="requests that schemathesis generates for each route (default: 200)",
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of all parts (default: 1)")
    parser.add_argument("--output", type=Path, help="write the tally to this file as JSON")
    options = parser.parse_args()
    console = Console(stderr=False)
    tally: dict[str, dict[str, object]] = {}
    problems = []

    for name in COVERAGE_GUIDED:
        with console.status(f"{name}: {options.seconds} s"):
            tried, problem = guided(name, options.seconds, options.seed)
        tally[name] = {"bodies": tried, "crashes": int(bool(problem)), "5xx": 0}
        problems += [problem] if problem else []

    with serving("--allow-defense", "none", "--max-pixels", "100000") as server:
        with console.status(f"http: {options.seconds} s"):
            statuses = asyncio.run(post_mutated(server.port, options.seconds, options.seed))
        failed = {status: count for status, count in statuses.items() if status >= 500}
        tally["http"] = {
            "bodies": statuses.total(),
            "crashes": statuses[0],
            "5xx": sum(failed.values()),
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
        }
        problems += [f"http: {failed}, connections closed: {statuses[0]}"] * bool(
            failed or statuses[0]
        )
        with console.status("schema"):
            code, printed = from_schema(server.port, options.examples, options.seed)
        generated = re.search(r"(\d+) generated", printed)
        tally["schema"] = {
            "bodies": int(generated[1]) if generated else 0,
            "crashes": 0,
            "5xx": 0 if code == 0 else 1,
        }
        problems += [printed[-6000:]] if code else []

    table = Table(title="Malformed bodies tried")
    for column in ("part", "bodies", "crashes", "5xx"):
        table.add_column(column, justify="left" if column == "part" else "right")
    for name, row in tally.items():
        table.add_row(name, str(row["bodies"]), str(row["crashes"]), str(row["5xx"]))
    total = sum(int(str(row["bodies"])) for row in tally.values())
    table.add_row("all", str(total), "", "")
    console.print(table)
    for problem in problems:
        console.print(problem, markup=False)
    if options.output is not None:
        options.output.write_text(json.dumps({"total": total, **tally}, indent=2) + "\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
