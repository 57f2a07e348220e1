"""Make API keys for a server.

For example: warpguard keys new shop
"""

import argparse
import sys
from pathlib import Path

from service.cli.command import AddParser, add_command


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    keys = add_command(add_parser, "keys", None, text=__doc__)
    actions = keys.add_subparsers(dest="action", required=True, metavar="ACTION")
    new = add_command(actions.add_parser, "new", _new)
    new.add_argument("name", metavar="NAME", help="name of the key, which the log shows")
    new.add_argument("--file", type=Path, help="add the line to this file and print only the key")
    new.add_argument("--rate", metavar="N", help="images a second, each draw counting as one")
    new.add_argument("--burst", metavar="N", help="images at once (default: the rate)")


def _new(options: argparse.Namespace) -> None:
    """Make an API key and its line for the file of --api-keys. The key is shown only once.

    For example: warpguard keys new shop --file keys.txt --rate 20 --burst 100
    """
    from service.auth import key_file

    given = {"rate": options.rate, "burst": options.burst}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    key, line = key_file.new(options.name, " ".join(words))
    if options.file is not None:
        key_file.append(options.file, line)
    sys.stdout.write(f"{key}\n" if options.file is not None else f"{key}\n{line}\n")
