"""``warpguard defenses``."""

import argparse
import sys

from service.cli.command import JSON, AddParser, add_command, print_json


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    add_command(add_parser, "defenses", run, JSON)


def run(options: argparse.Namespace) -> None:
    """List the operations that a defence can be made of.

    For example: warpguard defenses --json
    """
    from rich.console import Console

    from defenses import OPERATIONS
    from service.cli import defense_table

    rows = defense_table.rows()
    for problem in OPERATIONS.broken:
        sys.stderr.write(f"warpguard: {problem}\n")
    if options.json:
        print_json(rows)
    else:
        Console().print(defense_table.table(rows))
