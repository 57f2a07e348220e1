"""What ``warpguard serve --print-settings`` shows: each setting, and where it came from."""

import re
from collections.abc import Collection
from itertools import groupby
from typing import Any

from pydantic import AnyUrl

from service.settings import Settings, flag, room
from service.settings.environment import Environment
from service.settings.profiles import PROFILES


def origins(settings: Settings, flags: Collection[str]) -> dict[str, str]:
    """Return where each setting came from: flag, variable, profile or default.

    Args:
        settings: the values.
        flags: the settings that were given on the command line.
    """
    variables = Environment(type(settings))()
    profile = PROFILES.get(settings.profile or "", {})
    found = {"flag": flags, "variable": variables, "profile": profile}
    return {
        name: next((origin for origin, names in found.items() if name in names), "default")
        for name in type(settings).model_fields
    }


def print_settings(settings: Settings, flags: Collection[str], *, as_json: bool) -> None:
    """Print all settings, without the passwords and queries of addresses.

    Args:
        settings: the values.
        flags: the settings that were given on the command line.
        as_json: whether to print JSON instead of a table.
    """
    came_from = origins(settings, flags)
    if as_json:
        from service.cli.command import print_json

        values = settings.model_dump(mode="json")
        print_json(
            {
                name: {"value": _public(value, getattr(settings, name)), "from": came_from[name]}
                for name, value in values.items()
            }
        )
        return

    from rich.console import Console
    from rich.markup import escape
    from rich.padding import Padding
    from rich.table import Table

    console = Console()
    names = list(came_from)
    width = max(map(len, names)) + len("--")
    for title, group in groupby(names, room):
        table = Table(box=None, pad_edge=False, show_header=False)
        table.add_column(width=width)
        table.add_column(width=len("variable"))
        table.add_column(overflow="fold")
        for name in group:
            origin = came_from[name]
            shown = origin if origin == "default" else f"[bold]{origin}[/]"
            table.add_row(flag(name), shown, escape(_text(getattr(settings, name))))
        console.print(f"{escape(title)}:", highlight=False)
        console.print(Padding(table, (0, 0, 1, 2)), highlight=False)


def _public(dumped: Any, value: Any) -> Any:
    return _text(value) if isinstance(value, AnyUrl) else dumped


def _text(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(value) or "-"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, AnyUrl):
        return re.sub(r"\?.*", "?…", re.sub(r"//[^/@]*@", "//…@", str(value)))
    return str(value)
