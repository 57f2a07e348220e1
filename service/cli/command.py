"""What the commands share.

A command imports most modules when it runs, so that ``--version`` and ``--help`` are quick.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from textwrap import dedent
from typing import Any, NoReturn, TypeAlias

from service.spelling import nearest


class Parser(argparse.ArgumentParser):
    """A parser whose errors name what was probably meant."""

    def __init__(self, **options: Any) -> None:
        """Set up a parser; see :class:`argparse.ArgumentParser` for the options."""
        super().__init__(**options)
        self._by_title: dict[str, argparse._ArgumentGroup] = {}

    def group(self, title: str) -> "argparse._ArgumentGroup":
        """The group of options with this title, which is made when it is first asked for."""
        if title not in self._by_title:
            self._by_title[title] = self.add_argument_group(title)
        return self._by_title[title]

    def error(self, message: str) -> NoReturn:
        """Exit with 2 and the message; see :class:`argparse.ArgumentParser`."""
        wrong = re.search(r"invalid choice: '(.*)' \(choose from (.*)\)", message)
        near = nearest(wrong[1], re.findall(r"[\w-]+", wrong[2])) if wrong else None
        super().error(message if near is None else f"{message}; did you mean {near!r}?")

    def refuse(self, words: Sequence[str]) -> NoReturn:
        """Exit with 2, because these words are not arguments of the command."""
        known = re.findall(r"(?<![\w-])--?[a-z][a-z-]*", self.format_help())
        near = {word: nearest(word.partition("=")[0], known) for word in words if word[0] == "-"}
        meant = " and ".join(dict.fromkeys(filter(None, near.values())))
        self.error(
            f"unrecognized arguments: {' '.join(words)}; "
            + (f"did you mean {meant}?" if meant else f"'{self.prog} --help' lists the options")
        )


AddParser: TypeAlias = Callable[..., Parser]
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
) -> Parser:
    """Add a command. ``run`` returns the exit code, or None for success.

    A group of commands has no ``run``, and prints its help.

    The help is ``text``, by default the docstring of ``run``: a summary, and then an example.
    """
    summary, _, example = (text or run.__doc__ or "").partition("\n\n")
    parser = add_parser(
        name, help=summary, description=summary, epilog=dedent(example), parents=parents
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.set_defaults(run=run or (lambda _: parser.print_help()), parser=parser)
    return parser


def print_json(value: Any) -> None:
    """Print a value as indented JSON."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False) + "\n")
