"""What the commands share.

A command imports most modules when it runs, so that ``--version`` and ``--help`` are quick.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any, TypeAlias

AddParser: TypeAlias = Callable[..., argparse.ArgumentParser]
"""The method ``add_parser`` of argparse's subparsers."""


def shared(*flags: str, **options: Any) -> argparse.ArgumentParser:
    """Make a parser with one argument, for several commands to use as a parent."""
    parent = argparse.ArgumentParser(add_help=False)
    parent.add_argument(*flags, **options)
    return parent


DEFENSE = shared("--defense", default="fd+rdg", help="for example fd(step=20)+rdg, or none")
JSON = shared("--json", action="store_true", help="print JSON")
STORE = shared("--store", type=Path, metavar="DIR", help="folder of the model store")


def add_command(
    add_parser: AddParser,
    name: str,
    run: Callable[[argparse.Namespace], int | None] | None,
    *parents: argparse.ArgumentParser,
    text: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command. ``run`` returns the exit code, or None for success; a group has no ``run``.

    The help is ``text``, by default the docstring of ``run``: a summary, and then an example.
    """
    summary, _, example = (text or run.__doc__ or "").partition("\n\n")
    parser = add_parser(
        name, help=summary, description=summary, epilog=dedent(example), parents=parents
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run, error=parser.error)
    return parser


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
