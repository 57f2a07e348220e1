"""Make, list and revoke the API keys of a server.

For example: warpguard keys new shop
"""

import argparse
import sys
from pathlib import Path

from service.cli.command import JSON, AddParser, add_command, print_json, shared
from service.signals.names import OFF


def register(add_parser: AddParser) -> None:
    """Add the command to the parser, with its actions."""
    keys = add_command(add_parser, "keys", None, text=__doc__)
    actions = keys.add_subparsers(title="actions", dest="action", metavar="ACTION").add_parser
    file = shared("--file", type=Path, required=True, help="the file of --api-keys")
    new = add_command(actions, "new", _new)
    new.add_argument("name", metavar="NAME", help="name of the key, which the log shows")
    new.add_argument("--file", type=Path, help="add the line to this file and print only the key")
    new.add_argument("--rate", metavar="N", help="images a second, each draw counting as one")
    new.add_argument("--burst", metavar="N", help="images at once (default: the rate)")
    new.add_argument(
        "--alarm",
        metavar="NAMES",
        help="which of the server's signals look at its images, with commas, or off "
        "(default: all of them)",
    )
    add_command(actions, "list", _list, file, JSON)
    revoke = add_command(actions, "revoke", _revoke, file)
    revoke.add_argument("name", metavar="NAME", help="name of the key")


def _new(options: argparse.Namespace) -> None:
    """Make an API key and its line for the file of --api-keys. The key is shown only once.

    For example: warpguard keys new shop --file keys.txt --rate 20 --burst 100
    """
    from service.auth import key_file

    given = {"rate": options.rate, "burst": options.burst, "alarm": options.alarm}
    words = [f"{name}={value}" for name, value in given.items() if value is not None]
    key, line = key_file.new(options.name, " ".join(words))
    if options.file is not None:
        key_file.append(options.file, line)
    sys.stdout.write(f"{key}\n" if options.file is not None else f"{key}\n{line}\n")


def _list(options: argparse.Namespace) -> None:
    """List the names, rates and alarms of the keys in a file.

    For example: warpguard keys list --file keys.txt
    """
    from service.auth import key_file

    entries = key_file.read(options.file)
    if options.json:
        print_json(
            [
                {
                    "name": entry.name,
                    "rate": entry.rate,
                    "burst": entry.burst,
                    "alarm": None if entry.alarm is None else sorted(entry.alarm),
                }
                for entry in entries
            ]
        )
        return

    from rich.console import Console
    from rich.table import Table

    table = Table("name", "images a second", "images at once", "alarm")
    for entry in entries:
        numbers = ("" if each is None else f"{each:g}" for each in (entry.rate, entry.burst))
        alarm = "" if entry.alarm is None else ", ".join(sorted(entry.alarm)) or OFF
        table.add_row(entry.name, *numbers, alarm)
    Console().print(table)


def _revoke(options: argparse.Namespace) -> None:
    """Remove a key from a file. Servers that use the file refuse the key within a second.

    For example: warpguard keys revoke shop --file keys.txt
    """
    from service.auth import key_file

    key_file.remove(options.file, options.name)
    sys.stdout.write(f"{options.name} is revoked\n")
