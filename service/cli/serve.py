"""``warpguard serve``. Its options are the settings of :mod:`service.settings`."""

import argparse
import re
from typing import Any

from service.cli.command import AddParser, Parser, add_command

_PLACEHOLDERS = {"int": "N", "Path": "FILE", "FilePath": "FILE"}


def register(add_parser: AddParser, *, with_options: bool) -> None:
    """Add the command to the parser. Its options take long to build, so they are optional."""
    parser = add_command(add_parser, "serve", run)
    parser.usage = "warpguard serve [OPTION ...]"
    if with_options:
        from pydantic_settings import CliSettingsSource

        from service.settings import Settings

        source: CliSettingsSource[argparse.ArgumentParser] = CliSettingsSource(
            Settings,
            root_parser=parser,
            add_argument_method=_add_argument,
            cli_shortcuts={"port": "http-port"},  # KServe's name for it
        )
        parser.set_defaults(source=source)
        parser.add_argument(
            "--print-settings",
            nargs="?",
            const="table",
            choices=("table", "json"),
            help="print all settings, and where each came from, instead of serving",
        )


def run(options: argparse.Namespace) -> int:
    """Serve protected predictions over HTTP.

    For example: warpguard serve --port 8080 --defense fd+rdg --allow-defense fd+rand

    With all settings of a profile: warpguard serve --profile internal --print-settings

    Each option is also an environment variable: --max-batch is WARPGUARD_MAX_BATCH.
    Flags may have underscores, as KServe writes them: --model_name is --model-name.
    """
    from service.server.run import serve
    from service.settings import Settings

    source = options.source(parsed_args=options)
    settings = Settings(_cli_settings_source=source)
    if options.print_settings is not None:
        from service.cli.settings_table import print_settings

        print_settings(settings, source(), as_json=options.print_settings == "json")
        return 0
    if settings.require_keys and settings.api_keys is None:
        needs = (
            "--require-keys needs --api-keys FILE: 'warpguard keys new NAME --file FILE' makes a "
            "key. With --no-require-keys everyone is answered who can connect"
        )
        options.parser.error(blamed(options, needs))
    return serve(settings)


def blamed(options: argparse.Namespace, message: str) -> str:
    """Add to the message of a wrong setting what the profile has to do with it."""
    from service.settings import Settings
    from service.settings.environment import Environment
    from service.settings.profiles import blame

    given = Environment(Settings)() | options.source()
    return blame(message, given.get("profile"), given)


def _add_argument(parser: Parser, *flags: str, **options: Any) -> None:
    """Add a setting's option to the group of its room, without Python's names for types."""
    from service.settings import room

    kind, name = options.get("metavar", "{"), options["dest"]
    if not kind.startswith("{"):  # a choice or a switch needs no placeholder
        last_word = name.rpartition("_")[2].upper()
        options["metavar"] = "DIR" if name == "store" else _PLACEHOLDERS.get(kind, last_word)
    options["help"] = re.sub(r" \(default(: null|: \(\)| factory: .*)\)$", "", options["help"])
    parser.group(room(name)).add_argument(*flags, **options)
