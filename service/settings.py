"""Every setting of the service: a flag, an environment variable ``WARPGUARD_…``, or the default."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AnyHttpUrl, Field, FilePath, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from defenses import Pipeline
from models import available_cpus
from service.telemetry.logs import LogFormat

MAX_DRAWS = 16
"""The most draws a client can ask for."""


class Settings(BaseSettings):
    """The settings of ``warpguard serve``; a flag wins over the environment over the default."""

    model_config = SettingsConfigDict(
        env_prefix="WARPGUARD_",
        cli_kebab_case=True,
        cli_implicit_flags=True,
        env_ignore_empty=True,
        frozen=True,
    )

    host: str = Field("127.0.0.1", description="Address to listen on; 0.0.0.0 for all.")
    port: int = Field(8080, ge=0, le=65535, description="Port to listen on; 0 takes a free one.")
    admin_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port of their own for /healthz, /readyz, /metrics and loading the model; they "
        "are not on the other one then.",
    )
    admin_host: str | None = Field(
        None, description="Address of the admin port; by default that of the other one."
    )
    tls_cert: FilePath | None = Field(
        None, description="Certificate chain, PEM; HTTPS is spoken then, but not on the admin port."
    )
    tls_key: FilePath | None = Field(
        None, description="Private key, PEM; by default it is in the certificate's file."
    )
    tls_client_ca: FilePath | None = Field(
        None, description="Authorities, PEM; a client needs a certificate of one of them then."
    )
    model: str = Field(
        "auto",
        description="Model to serve: a name of 'warpguard models list'; auto takes inception-v3 "
        "where it is in the store, else the embedded efficientnet-lite2.",
    )
    store: Path | None = Field(
        None, description="Folder of the model store; by default in the user's cache folder."
    )
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = Field(
        "auto", description="Where to run the model; auto takes CUDA where it works, else the CPU."
    )
    lanes: int = Field(
        default_factory=available_cpus,
        ge=1,
        le=1024,
        description="Inferences that run side by side; by default as many as there are CPUs. Give "
        "a GPU 1 or 2.",
    )
    threads: int = Field(
        1,
        ge=1,
        le=1024,
        description="Threads of one inference. Fewer lanes with more threads each answer a lone "
        "request sooner, and fewer requests in all.",
    )
    workers: int = Field(
        default_factory=lambda: available_cpus() + 1,
        ge=1,
        le=1024,
        description="Threads that decode and defend; by default one more than there are CPUs, as "
        "one or another waits for Python's lock.",
    )
    defense: str = Field("fd+rdg", description="Defence of a request that names none.")
    allow_defense: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further defences that a request may name; may be given several times."
    )
    response_detail: Literal["label", "top1", "full"] = Field(
        "full",
        description="How much an answer tells: label is the most probable class, top1 its "
        "probability too, full all there is. An attacker who asks learns less from less.",
    )
    defend_endpoint: bool = Field(
        True,
        description="Show defended images: POST /v1/defend, and the output 'defended' of the Open "
        "Inference Protocol. Only with the full detail.",
    )
    api_keys: Path | None = Field(
        None,
        description="File of API keys; a request needs one of them then. 'warpguard keys new' "
        "makes them; the file is read again when it changes.",
    )
    key_rate: float | None = Field(
        None,
        gt=0,
        description="Images a second, each draw counting as one, of a key whose line has no rate; "
        "over it, 429.",
    )
    max_batch: int = Field(
        1,
        ge=1,
        le=256,
        description="Most images of one inference. On a CPU a batch takes as long as its images "
        "one by one; give a GPU 8 or more.",
    )
    batch_window_ms: float = Field(
        0.0,
        ge=0,
        le=1000,
        description="How long the first image of a batch waits for others. 0 waits for none: a "
        "batch is what arrived while the one before it ran.",
    )
    max_in_flight: int = Field(
        256,
        ge=1,
        le=65536,
        description="Most images at work at once, each draw counting as one; over it, 429.",
    )
    deadline_ms: float = Field(
        10_000.0, gt=0, le=3_600_000, description="Longest time for one request; over it, 504."
    )
    max_images: int = Field(32, ge=1, le=1024, description="Most files in one request.")
    max_body_bytes: int = Field(
        32 * 1024 * 1024, ge=1024, le=2**31, description="Largest request body."
    )
    max_buffered_bytes: int = Field(
        256 * 1024 * 1024,
        ge=1024,
        le=2**40,
        description="Most bytes of request bodies held at once; over it, 429.",
    )
    max_pixels: int = Field(
        25_000_000, ge=64, le=10**9, description="Largest image, by the size its header declares."
    )
    max_connections: int = Field(
        2048,
        ge=1,
        le=2**20,
        description="Most open connections; over it, 503, but for health and metrics.",
    )
    request_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Longest time for a request to arrive, its head and its body; over it, 408.",
    )
    keep_alive_seconds: float = Field(
        75.0,
        ge=0,
        le=3600,
        description="How long a connection is kept open between two requests; longer than a load "
        "balancer keeps its own.",
    )
    drain_seconds: float = Field(
        30.0,
        ge=0,
        le=3600,
        description="Longest time from SIGTERM to the exit; what was accepted is answered in it.",
    )
    drain_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=600,
        description="Time after SIGTERM in which the server is not ready but still accepts: as "
        "long as a load balancer needs to notice.",
    )
    allow_load: bool = Field(
        False,
        description="Let POST /v2/repository/models/NAME/load load the model anew, as SIGHUP does.",
    )
    predictor_host: str | None = Field(
        None,
        description="HOST or HOST:PORT of a classifier that is served elsewhere: images are "
        "defended and sent on to it, and no model is loaded here.",
    )
    predictor_protocol: Literal["v2", "v1"] = Field(
        "v2", description="Its protocol: v2 is the Open Inference Protocol, v1 is TensorFlow's."
    )
    model_name: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9._-]{1,200}$",
        description="The model's name there, and here. Needed with --predictor-host.",
    )
    predictor_manifest: Path | None = Field(
        None,
        description="Manifest of its input, as for 'warpguard models add'; by default what the "
        "server tells of itself, with pixels in [0, 1] where it takes FP32.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much to log."
    )
    log_format: LogFormat = Field(
        "auto",
        description="Lines for people, or one JSON object a line; auto is text on a terminal and "
        "json otherwise.",
    )
    otel_endpoint: AnyHttpUrl | None = Field(
        None,
        description="Address of an OpenTelemetry collector that takes OTLP over HTTP, such as "
        "http://127.0.0.1:4318; traces are sent there. Needs the extra 'otel'.",
    )

    @model_validator(mode="after")
    def _named(self) -> Self:
        if self.predictor_host is not None and self.model_name is None:
            raise ValueError("--predictor-host needs --model-name, the model's name on that server")
        if self.predictor_host is not None and self.response_detail != "full":
            raise ValueError("--predictor-host answers in full: --response-detail cannot be less")
        return self

    @field_validator("predictor_host")
    @classmethod
    def _no_url(cls, value: str | None) -> str | None:
        if value is None:
            return None
        match = re.fullmatch(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?", value)
        if match is None or not 0 < int(match[1] or 80) < 2**16:
            raise ValueError("give HOST or HOST:PORT, without http:// and without a path")
        return value

    @field_validator("defense")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return str(Pipeline.parse(value))

    @field_validator("allow_defense", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):  # commas also stand between a defence's parameters
            return tuple(part for part in re.split(r"[,\s]+(?![^(]*\))", value) if part)
        return value

    @model_validator(mode="after")
    def _certified(self) -> Self:
        if self.tls_cert is None and (self.tls_key or self.tls_client_ca):
            raise ValueError("--tls-key and --tls-client-ca need --tls-cert")
        return self

    @model_validator(mode="after")
    def _drained_in_time(self) -> Self:
        if self.drain_delay_seconds > self.drain_seconds:
            raise ValueError("drain_delay_seconds is a part of drain_seconds, and cannot be longer")
        return self

    @field_validator("allow_defense")
    @classmethod
    def _all_canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(Pipeline.parse(part)) for part in value))

    @property
    def shows_defended(self) -> bool:
        """Whether a client may see what a draw has made of its image."""
        return self.defend_endpoint and self.response_detail == "full"

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The allowed defences by their specification, the default first."""
        names = dict.fromkeys((self.defense, *self.allow_defense))
        return {name: Pipeline.parse(name) for name in names}


def environment_variable(field: str) -> str:
    """The environment variable of a setting."""
    return f"WARPGUARD_{field.upper()}"


def flag(field: str) -> str:
    """The command-line flag of a setting."""
    return "--" + field.replace("_", "-")
