"""``warpguard defenses``."""

import argparse
import sys
from pathlib import Path

from service.cli.command import JSON, AddParser, add_command, print_json


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "defenses", run, JSON)
    parser.add_argument("defense", nargs="?", metavar="DEFENSE", help="one of them, or a whole one")
    picture = "write a picture of a photograph before and after DEFENSE: .png, .jpg or .webp"
    parser.add_argument("--picture", type=Path, metavar="FILE", help=picture)
    photograph = "the photograph of --picture (default: one of the demonstration)"
    parser.add_argument("--photograph", type=Path, metavar="FILE", help=photograph)


def run(options: argparse.Namespace) -> None:
    """List the operations that a defence can be made of, or show the details of some.

    For example: warpguard defenses
    With details: warpguard defenses fd+rdg --picture before-after.png
    """
    from rich.console import Console

    from defenses import OPERATIONS, Pipeline
    from service.cli import defense_table

    if options.picture is None and options.photograph is not None:
        options.parser.error("--photograph needs --picture")
    if options.picture is not None and options.defense is None:
        options.parser.error("--picture needs a DEFENSE, such as fd+rdg")
    rows = defense_table.rows()
    for problem in OPERATIONS.broken:
        sys.stderr.write(f"warpguard: {problem}\n")
    if options.defense is not None:
        names = {options.defense}
        if options.defense not in OPERATIONS:
            names = {each.name for each in Pipeline.parse(options.defense).operations}
        rows = [row for row in rows if row["name"] in names]
    if options.picture is not None:
        from service.cli import defense_picture

        pipeline = Pipeline.parse(options.defense)
        defense_picture.write(pipeline, options.photograph, options.picture)
    if options.json:
        print_json(rows)
    elif options.defense is None:
        defense_table.print_list(rows, Console())
    else:
        defense_table.print_details(rows, Console())
