"""The settings of the signals."""

from pathlib import Path

from pydantic import field_validator

from service.settings_group import Group, Words
from service.signal_names import parse_signals


class SignalSettings(Group):
    """What shows an operator that somebody attacks the model."""

    alarm: Words = ()
    """Signs of an attack to look for, after the answer and for the operator only: same-picture,
    concentration, or off. Needs --admin-port. By default off."""
    events_file: Path | None = None
    """File to which each event is appended as a line of JSON, an OCSF Detection Finding. The log
    has the events too."""

    @field_validator("alarm")
    @classmethod
    def _are_signals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return parse_signals(value)

    @property
    def signals(self) -> frozenset[str]:
        """The signals that are on."""
        return frozenset(self.alarm)
