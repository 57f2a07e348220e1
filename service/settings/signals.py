"""The settings of the signals."""

from pathlib import Path
from typing import Self

from pydantic import Field, field_validator, model_validator

from service.settings.group import Group, Words
from service.signals.names import CONCENTRATION, SQUEEZE, parse_signals


class SignalSettings(Group):
    """What shows an operator that somebody attacks the model."""

    alarm: Words = ()
    """Signs of an attack to look for, after the answer and for the operator only: same-picture,
    concentration, squeeze, or off. Needs --admin-port. By default off."""
    squeeze_share: float = Field(0.0, ge=0, le=1)
    """Share of the images that the signal squeeze infers again, without a defence, while the server
    is idle; 0.1 is one in ten."""
    calibration: Path | None = None
    """File of 'warpguard calibrate', whose thresholds on your own images the signals squeeze and
    concentration use."""
    events_file: Path | None = None
    """File to which each event is appended as a line of JSON, an OCSF Detection Finding. The log
    has the events too."""

    @field_validator("alarm")
    @classmethod
    def _are_signals(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return parse_signals(value)

    @model_validator(mode="after")
    def _squeezes_a_share(self) -> Self:
        if (SQUEEZE in self.alarm) != (self.squeeze_share > 0):
            raise ValueError("--alarm squeeze and a --squeeze-share above 0 need each other")
        return self

    @model_validator(mode="after")
    def _calibrates_a_signal(self) -> Self:
        if self.calibration is not None and not {SQUEEZE, CONCENTRATION} & set(self.alarm):
            raise ValueError(
                "--calibration is for --alarm squeeze and --alarm concentration: add one of them"
            )
        return self

    @property
    def signals(self) -> frozenset[str]:
        """The signals that are on."""
        return frozenset(self.alarm)
