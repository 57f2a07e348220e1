"""The command line. Each command is in a module of its own, with its arguments.

Exit codes: 0, success; 1, a failure; 2, an invalid command line or setting; 130, interrupted.
"""

import argparse
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from models import ModelError
from service import __version__
from service.cli import (
    calibrate,
    defend,
    defenses,
    evaluate,
    keys,
    models,
    predict,
    quilt_bank,
    serve,
    watch,
)
from service.cli.command import Parser, add_command
from service.errors import ServiceError, SetupError

OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code."""
    _open_closed_streams()
    words = _with_dashes(sys.argv[1:] if arguments is None else arguments)
    options, unknown = _parser(words).parse_known_args(words)
    if unknown:
        options.parser.refuse(unknown)
    try:
        return options.run(options) or OK
    except KeyboardInterrupt:
        return INTERRUPTED
    except ServiceError as error:
        code, messages = FAILED, [f"{error.message} ({error.help})"]
    except (ModelError, SetupError, OSError) as error:
        code, messages = FAILED, [str(error)]
    except ValueError as error:
        code, messages = USAGE, _invalid_settings(error)
        if options.command == "serve":
            messages = [serve.blamed(options, message) for message in messages]
    for message in messages:
        sys.stderr.write(f"warpguard: {message}\n")
    return code


def _open_closed_streams() -> None:
    """Open streams that the caller has closed, as ``2>&-`` does: what is written there is lost.

    Otherwise there is nothing to log to, and a file or a connection gets the stream's number, to
    which libraries in C write their messages.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, Path(os.devnull).open(mode))  # noqa: SIM115  # never closed


def _with_dashes(words: Sequence[str]) -> list[str]:
    """Replace the underscores of flags by dashes, because KServe writes ``--model_name``."""
    return [re.sub(r"^--[^=]*", lambda flag: flag[0].replace("_", "-"), word) for word in words]


def _parser(words: Sequence[str]) -> Parser:
    parser = Parser(
        prog="warpguard",
        description="Image classification behind a randomized, non-differentiable defence.",
        epilog="'warpguard COMMAND --help' shows a command's options and an example.",
    )
    parser.add_argument("--version", action="version", version=f"warpguard {__version__}")
    parser.set_defaults(run=lambda _: parser.print_help(), parser=parser)
    add_parser = parser.add_subparsers(
        title="commands", dest="command", metavar="COMMAND"
    ).add_parser
    # Only serve has options that are slow to build, because they are made from the settings.
    serve.register(add_parser, with_options="serve" in words)
    images = (predict, evaluate, defend, defenses, calibrate, quilt_bank)
    for command in (*images, models, keys, watch):
        command.register(add_parser)
    add_command(add_parser, "version", _version)
    return parser


def _version(_: argparse.Namespace) -> None:
    """Show the version.

    For example: warpguard version
    """
    sys.stdout.write(f"warpguard {__version__}\n")


def _invalid_settings(error: ValueError) -> list[str]:
    """Return a line for each setting that is not valid; raise an error of any other kind again."""
    from pydantic import ValidationError

    from defenses import DefenseError
    from service.settings import flag

    if isinstance(error, DefenseError):
        return [str(error)]
    if not isinstance(error, ValidationError):
        raise error
    return [
        f"{flag(str(problem['loc'][0])) if problem['loc'] else 'settings'}: "
        + problem["msg"].removeprefix("Value error, ")
        for problem in error.errors()
    ]
