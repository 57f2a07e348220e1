"""Profiles: defaults for who asks. A flag or a variable given beside a profile wins.

docs/choose.md gives the reason for each value. A setting that a profile does not name keeps its
own default.
"""

import re
from collections.abc import Collection, Mapping
from typing import Any, Literal, TypeAlias

from pydantic.fields import FieldInfo
from pydantic_settings import PydanticBaseSettingsSource

from service.settings.group import Group

ProfileName: TypeAlias = Literal["internal", "partner", "public"]

_WATCHED: dict[str, Any] = {
    "require_keys": True,
    "defend_endpoint": False,
    "admin_port": 8081,
    "admin_host": "127.0.0.1",
    "alarm": ("same-picture", "concentration"),
}
PROFILES: Mapping[str, Mapping[str, Any]] = {
    "internal": {"draws": 8, "deadline_ms": 60_000.0},
    "partner": {**_WATCHED, "response_detail": "top1", "key_rate": 20.0},
    "public": {
        **_WATCHED,
        "response_detail": "label",
        "key_rate": 1.0,
        "max_images": 4,
        "max_body_bytes": 16 * 1024 * 1024,
    },
}


class ProfileSettings(Group):
    """Who asks, as defaults for the other settings."""

    profile: ProfileName | None = None
    """Defaults for who asks: internal for your own batches, partner for others with a key, public
    for strangers. Another flag or variable wins. --print-settings shows what a profile sets."""


class ProfileDefaults(PydanticBaseSettingsSource):
    """A profile as a source of settings, weaker than the arguments and the environment."""

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        """Return the default, because :meth:`__call__` returns a profile's values at once."""
        return field.default, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the values of the profile that a stronger source names."""
        return dict(PROFILES.get(str(self.current_state.get("profile")), {}))


def as_flag(field: str, value: Any) -> str:
    """Write a setting as one writes it on the command line.

    >>> as_flag("defend_endpoint", False), as_flag("key_rate", 20.0)
    ('--no-defend-endpoint', '--key-rate 20')
    """
    name = field.replace("_", "-")
    if isinstance(value, bool):
        return f"--{name}" if value else f"--no-{name}"
    if isinstance(value, tuple):
        return f"--{name} {','.join(value)}"
    return f"--{name} {value:g}" if isinstance(value, float) else f"--{name} {value}"


def blame(message: str, profile: str | None, given: Collection[str]) -> str:
    """Add to a message which of the settings that it names come from the profile.

    Args:
        message: of an error; it names settings by their flags.
        profile: the profile that was asked for.
        given: the settings that were given beside it.
    """
    named = {flag.replace("-", "_") for flag in re.findall(r"--(?:no-)?([a-z0-9-]+)", message)}
    values = PROFILES.get(profile or "", {})
    guilty = [as_flag(name, values[name]) for name in values if name in named - set(given)]
    if not guilty:
        return message
    return f"{message} (--profile {profile} sets {' and '.join(guilty)}; another value wins)"
