"""``warpguard watch``."""

import argparse
import time
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from service.cli.command import AddParser, add_command

if TYPE_CHECKING:
    from service.monitor.sources import Sources

_SCHEMES = ("http://", "https://")


def register(add_parser: AddParser) -> None:
    """Add the command to the parser."""
    parser = add_command(add_parser, "watch", run)
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="URL|FILE",
        help="address of the admin port, for the server; a file of events, or a log as JSON, for "
        "the clients; or both",
    )
    parser.add_argument("--once", action="store_true", help="print once, and end")
    parser.add_argument(
        "--interval-seconds",
        type=float,
        default=2.0,
        metavar="SECONDS",
        help="time between two looks (default: 2)",
    )
    parser.add_argument(
        "--api-key-file",
        type=Path,
        metavar="FILE",
        help="file with an API key alone, if the metrics need one",
    )


def run(options: argparse.Namespace) -> None:
    """Show a server and its clients, and go on until Ctrl-C.

    For example: warpguard watch http://127.0.0.1:9090 events.jsonl

    The address is that of the admin port, or of --port on a server without one.
    Without a terminal, one block of text follows the other.
    """
    from rich.console import Console
    from rich.live import Live

    if not 0.1 <= options.interval_seconds <= 3600:
        options.parser.error("--interval-seconds must be between 0.1 and 3600")
    console = Console(highlight=False)
    with closing(_sources(options)) as sources:
        if options.once or not console.is_terminal or console.is_dumb_terminal:
            console.print(sources.look())
            while not options.once:
                time.sleep(options.interval_seconds)
                console.print("", sources.look())
            return
        shown = sources.look(console.height)
        with Live(shown, console=console, auto_refresh=False, vertical_overflow="crop") as live:
            while True:
                time.sleep(options.interval_seconds)
                live.update(sources.look(console.height), refresh=True)


def _sources(options: argparse.Namespace) -> "Sources":
    from service.monitor.sources import Sources

    urls = [each for each in options.sources if each.lower().startswith(_SCHEMES)]
    files = [each for each in options.sources if each not in urls]
    if len(urls) > 1 or len(files) > 1:
        options.parser.error("give one URL, one FILE, or one of each")
    if files and not Path(files[0]).exists():
        options.parser.error(
            f"{files[0]} is not a file; an address begins with http://, such as "
            "http://127.0.0.1:9090"
        )
    key = None if options.api_key_file is None else _key(options)
    return Sources(urls[0] if urls else None, Path(files[0]) if files else None, key)


def _key(options: argparse.Namespace) -> str:
    try:
        words: list[str] = options.api_key_file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        options.parser.error(f"--api-key-file: {error}")
    if len(words) != 1 or not (words[0].isascii() and words[0].isprintable()):
        options.parser.error(f"--api-key-file {options.api_key_file} must have the key alone")
    return words[0]
