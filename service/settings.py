"""Every setting of the service: a flag, an environment variable ``WARPGUARD_…``, or the default."""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from defenses import Pipeline
from models import available_cpus

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
        default_factory=available_cpus,
        ge=1,
        le=1024,
        description="Threads that decode and defend; by default the CPUs this process may use.",
    )
    defense: str = Field("fd+rdg", description="Defence of a request that names none.")
    allow_defense: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Further defences that a request may name; may be given several times."
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
    max_pixels: int = Field(
        25_000_000, ge=64, le=10**9, description="Largest image, by the size its header declares."
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
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="How much to log."
    )

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
    def _drained_in_time(self) -> Self:
        if self.drain_delay_seconds > self.drain_seconds:
            raise ValueError("drain_delay_seconds is a part of drain_seconds, and cannot be longer")
        return self

    @field_validator("allow_defense")
    @classmethod
    def _all_canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(Pipeline.parse(part)) for part in value))

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
