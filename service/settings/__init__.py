"""Every setting of the service: a flag, a variable ``WARPGUARD_…``, a profile's, or the default.

The settings are grouped by the room that needs them, and each room is given its own group. The
command line and the variables are flat: ``--max-batch`` is ``WARPGUARD_MAX_BATCH``.
"""

import re
from inspect import get_annotations
from pathlib import Path
from typing import Literal, Self, TypeAlias

from pydantic import AnyHttpUrl, Field, FilePath, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from service.settings.environment import PREFIX, Environment
from service.settings.group import Group, Words
from service.settings.prediction import (
    MAX_DRAWS,
    DefenseSettings,
    Detail,
    ModelSettings,
    PredictorSettings,
)
from service.settings.profiles import ProfileDefaults, ProfileSettings
from service.settings.signals import SignalSettings

__all__ = [
    "MAX_DRAWS",
    "DefenseSettings",
    "Detail",
    "ModelSettings",
    "PredictorSettings",
    "Settings",
    "flag",
    "room",
]

LogFormat: TypeAlias = Literal["auto", "text", "json"]


class ServerSettings(Group):
    """The process and its sockets."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for all."""
    port: int = Field(8080, ge=0, le=65535)
    """Port to listen on; 0 takes a free one."""
    admin_port: int | None = Field(None, ge=0, le=65535)
    """Serve /healthz, /readyz, /metrics and model reloading on this port only, not on --port."""
    admin_host: str | None = None
    """Address of the admin port; by default the same as --host."""
    allowed_host: Words = ()
    """Host name that a request may be for, such as api.example.org or *.example.org; other requests
    get 421. May be given several times; by default any. IP addresses and localhost are always
    allowed."""
    tls_cert: FilePath | None = None
    """Certificate chain, PEM. With it --port speaks HTTPS; --admin-port does not."""
    tls_key: FilePath | None = None
    """Private key, PEM; by default it is read from the certificate's file."""
    tls_client_ca: FilePath | None = None
    """Authorities, PEM. With them a client needs a certificate of one of them."""
    max_connections: int = Field(2048, ge=1, le=2**20)
    """Most open connections. Beyond it only health and metrics are answered; other requests get
    503."""
    request_timeout_seconds: float = Field(30.0, gt=0, le=3600)
    """Longest time for a request to arrive, its head and its body; over it, 408."""
    keep_alive_seconds: float = Field(75.0, ge=0, le=3600)
    """How long an idle connection stays open; longer than a load balancer keeps its own."""
    drain_seconds: float = Field(30.0, ge=0, le=3600)
    """Longest time from SIGTERM to the exit; accepted requests are answered in it."""
    drain_delay_seconds: float = Field(0.0, ge=0, le=600)
    """Time after SIGTERM in which the server is not ready but still accepts requests: as long as a
    load balancer needs to notice."""

    @field_validator("allowed_host")
    @classmethod
    def _are_names(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for name in value:
            if not re.fullmatch(r"(\*\.)?[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", name):
                raise ValueError(f"{name!r} is not a host name: give it without a port or a path")
        return tuple(name.lower() for name in value)

    @model_validator(mode="after")
    def _has_certificate(self) -> Self:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("--tls-key and --tls-client-ca need --tls-cert")
        return self

    @model_validator(mode="after")
    def _drained_in_time(self) -> Self:
        if self.drain_delay_seconds > self.drain_seconds:
            raise ValueError("drain_delay_seconds is a part of drain_seconds, and cannot be longer")
        return self


class AuthSettings(Group):
    """Who may ask, and how much."""

    api_keys: Path | None = None
    """File of API keys. With it every request needs one of them. 'warpguard keys new' makes keys;
    the file is read again when it changes."""
    require_keys: bool = False
    """Do not start without --api-keys."""
    key_rate: float | None = Field(None, gt=0)
    """Images a second, each draw counting as one and large files as several, for keys without a
    rate of their own; over it, 429."""


class UpstreamSettings(Group):
    """The classifier that is served elsewhere, in transformer mode."""

    predictor_host: str | None = None
    """HOST or HOST:PORT of a classifier that is served elsewhere: images are defended and sent on
    to it, and no model is loaded here."""
    predictor_protocol: Literal["v2", "v1"] = "v2"
    """Its protocol: v2 is the Open Inference Protocol, v1 is TensorFlow's."""
    model_name: str | None = Field(None, pattern=r"^[A-Za-z0-9._-]{1,200}$")
    """The model's name on that server, and here. Needed with --predictor-host."""
    predictor_manifest: Path | None = None
    """Manifest of its input, as for 'warpguard models add'; by default the server's own metadata,
    with pixels in [0, 1] if it takes FP32."""
    predictor_max_bytes: int = Field(64 * 1024 * 1024, ge=1024, le=2**31)
    """Largest answer of that server, decompressed; over it, 502."""

    @field_validator("predictor_host")
    @classmethod
    def _no_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", value)
        if match is None or not 0 < int(match[1] or 80) < 2**16:
            raise ValueError("give HOST or HOST:PORT, without http:// and without a path")
        return value


class TelemetrySettings(Group):
    """What the service reports."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """How much to log."""
    log_format: LogFormat = "auto"
    """Lines for people, or one JSON object a line; auto is text on a terminal and json
    otherwise."""
    otel_endpoint: AnyHttpUrl | None = None
    """Address of an OpenTelemetry collector that takes OTLP over HTTP, such as
    http://127.0.0.1:4318; traces and the events of the signals are sent there. Needs the extra
    'otel'."""


class Settings(
    TelemetrySettings,
    SignalSettings,
    UpstreamSettings,
    PredictorSettings,
    AuthSettings,
    ModelSettings,
    ServerSettings,
    ProfileSettings,
    BaseSettings,
):
    """The settings of ``warpguard serve``.

    A flag wins over the environment, over the profile, over the default.

    Pydantic lists the fields of the last group first.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        cli_kebab_case=True,
        cli_implicit_flags=True,
        cli_hide_none_type=True,
        env_ignore_empty=True,
        frozen=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        *_: PydanticBaseSettingsSource,
        **__: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the arguments, then the environment, then the profile that these name."""
        return init_settings, Environment(settings_cls), ProfileDefaults(settings_cls)

    @model_validator(mode="after")
    def _upstream_is_named(self) -> Self:
        if self.predictor_host is not None and self.model_name is None:
            raise ValueError("--predictor-host needs --model-name, the model's name on that server")
        if self.predictor_host is not None and self.response_detail != "full":
            raise ValueError("--predictor-host answers in full: --response-detail cannot be less")
        if self.predictor_host is not None and self.draws > 1:
            raise ValueError("--predictor-host asks the classifier once: --draws can only be 1")
        return self

    @model_validator(mode="after")
    def _agreement_is_shown(self) -> Self:
        if self.min_agreement is not None and self.predictor_host is not None:
            raise ValueError("--min-agreement needs the model in this server, whose draws agree")
        if self.min_agreement is not None and self.response_detail != "full":
            raise ValueError("--min-agreement needs --response-detail full, which has an agreement")
        return self

    @model_validator(mode="after")
    def _signals_are_secret(self) -> Self:
        if self.alarm and self.predictor_host is not None:
            raise ValueError("--alarm needs the model in this server, without --predictor-host")
        if self.alarm and self.admin_port is None:
            raise ValueError("--alarm needs --admin-port, or /metrics would show it to clients")
        return self


def flag(field: str) -> str:
    """The command-line flag of a setting."""
    return "--" + field.replace("_", "-")


def room(field: str) -> str:
    """What the settings beside this one are about: the first line of their class's docstring."""
    (group,) = (each for each in Settings.__mro__ if field in get_annotations(each))
    return (group.__doc__ or "").partition("\n")[0].rstrip(".")
