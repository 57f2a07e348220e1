"""Send hostile requests to a server, and print their costs: ``python -m benchmarks.hostile``."""

import argparse
import json
import sys
from dataclasses import asdict
from fnmatch import fnmatch

from rich.console import Console
from rich.table import Table

from benchmarks.hostile.cases import CASES
from benchmarks.hostile.commands import COMMANDS, run_command
from benchmarks.hostile.run import (
    LEAST_SERVED,
    MOST_AFTER_S,
    MOST_HEALTH_MS,
    MOST_LOG_KB,
    MOST_MEMORY_MB,
    Outcome,
    run,
)
from service.server.process import raise_open_file_limit

_CONNECTIONS = 4096
_COLUMNS = ("case", "answers", "MB", "CPU s each", "s after", "honest", "ms", "log KB", "")
_RULE = ("---", "---", *["--:"] * 6, "---")


def main() -> int:
    """Run cases, and return 1 if a bound is missed."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.hostile",
        description="Send hostile files and requests to a server, three at once, and print "
        "what they cost and what an honest client notices.",
    )
    parser.add_argument(
        "--only",
        metavar="PATTERN",
        action="append",
        help="run only the cases whose names have this text, or match this pattern with * and ?",
    )
    parser.add_argument("--list", action="store_true", help="print the names of the cases")
    parser.add_argument("--json", action="store_true", help="print JSON, one object a case")
    parser.add_argument("--markdown", action="store_true", help="print a table for a document")
    options = parser.parse_args()
    names = [
        name
        for name in (*CASES, *COMMANDS)
        if not options.only or any(part in name or fnmatch(name, part) for part in options.only)
    ]
    if not names:
        parser.error("no case has such a name; --list prints the names")
    if options.list:
        print(*names, sep="\n")
        return 0
    raise_open_file_limit(_CONNECTIONS)
    progress = Console(stderr=True)
    outcomes = []
    for number, name in enumerate(names, 1):
        with progress.status(f"{number} of {len(names)}: {name}"):
            outcomes.append(
                run(name, CASES[name]) if name in CASES else run_command(name, COMMANDS[name])
            )
        if options.json:
            print(json.dumps(asdict(outcomes[-1])), flush=True)
        elif not progress.is_terminal:
            progress.print(f"{number} of {len(names)}: {_verdict(outcomes[-1])}: {name}")
    if options.markdown:
        print(
            "\n".join(
                "| " + " | ".join(row) + " |" for row in (_COLUMNS, _RULE, *map(_row, outcomes))
            )
        )
    elif not options.json:
        _print(outcomes)
    return 1 if any(outcome.missed for outcome in outcomes) else 0


def _verdict(outcome: Outcome) -> str:
    return f"missed: {', '.join(outcome.missed)}" if outcome.missed else "met"


def _row(outcome: Outcome) -> tuple[str, ...]:
    if outcome.name in COMMANDS:
        (code,) = outcome.statuses
        costs = (f"{outcome.memory_mb:.0f}", f"{outcome.cpu_s:.2f}")
        return (outcome.name, f"exit code {code}", *costs, "", "", "", "", _verdict(outcome))
    return (
        outcome.name,
        ", ".join(f"{count} x {status}" for status, count in outcome.statuses.items()),
        f"{outcome.memory_mb:.0f}",
        f"{outcome.cpu_s:.2f}",
        f"{outcome.after_s:.1f}",
        f"{outcome.served:.0%} of {outcome.honest}",
        f"{outcome.health_ms:.0f}",
        f"{outcome.log_kb:.0f}",
        _verdict(outcome),
    )


def _print(outcomes: list[Outcome]) -> None:
    table = Table(
        title="Hostile requests, three at once",
        caption=f"Bounds: at most {MOST_MEMORY_MB:.0f} MB above idle, work over within "
        f"{MOST_AFTER_S:.0f} s of the last answer, {LEAST_SERVED:.0%} of the honest requests "
        f"answered 200, /healthz within {MOST_HEALTH_MS:.0f} ms, {MOST_LOG_KB:.0f} KB of log "
        "and 1 KB for each answer.",
    )
    for column in _COLUMNS:
        table.add_column(column, justify="left" if column in ("case", "answers", "") else "right")
    for each in outcomes:
        *cells, verdict = _row(each)
        table.add_row(*cells, f"[{'red' if each.missed else 'green'}]{verdict}[/]")
    Console(width=170 if not sys.stdout.isatty() else None).print(table)


if __name__ == "__main__":
    sys.exit(main())
