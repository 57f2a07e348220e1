"""The settings of what an image passes through: the model, the defence, the queue, the limits."""

from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, field_validator

from defenses import Pipeline
from models import available_cpus
from service.settings.group import Group, Words

MAX_DRAWS = 16
"""The most draws that a client can ask for."""

Detail: TypeAlias = Literal["label", "top1", "full"]


class ModelSettings(Group):
    """Which model is served, and on what."""

    model: str = "auto"
    """Model to serve: a name from 'warpguard models list'; auto takes inception-v3 if it is in the
    store, else the embedded efficientnet-lite2."""
    store: Path | None = None
    """Folder of the model store; by default in the user's cache folder."""
    device: Literal["auto", "cpu", "cuda", "tensorrt"] = "auto"
    """Where to run the model; auto takes CUDA if it works, else the CPU."""
    precision: Literal["auto", "fp32", "int8"] = "auto"
    """Precision of the model; auto takes INT8 where the processor has instructions for it and it
    was measured to be faster, else FP32."""
    threads_per_inference: int = Field(1, ge=1, le=1024)
    """CPU threads of one inference. Fewer streams with more threads each lower the latency of a
    single request and the total throughput."""
    allow_load: bool = False
    """Let POST /v2/repository/models/NAME/load reload the model, as SIGHUP does."""


class DefenseSettings(Group):
    """Which defences a request may name, and how much an answer reveals."""

    defense: str = "fd+rdg"
    """Defence of a request that names none."""
    allow_defense: Words = ()
    """Further defences that a request may name; may be given several times."""
    draws: int = Field(1, ge=1, le=MAX_DRAWS)
    """Draws of a request that names no number of draws. Each draw costs an inference."""
    response_detail: Detail = "full"
    """How much an answer reveals: label is the most probable class, top1 adds its probability, full
    is everything. The less a response reveals, the less an attacker can learn by querying."""
    defend_endpoint: bool = True
    """Show defended images: POST /v1/defend, and the output 'defended' of the Open Inference
    Protocol. Only with --response-detail full."""
    min_agreement: float | None = Field(None, ge=0, le=1)
    """Mark answers as unsure whose agreement is below this, in [0, 1]; by default no answer is
    marked. It needs requests with several draws."""

    @field_validator("defense")
    @classmethod
    def _canonical(cls, value: str) -> str:
        return str(Pipeline.parse(value))

    @field_validator("allow_defense")
    @classmethod
    def _all_canonical(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(Pipeline.parse(part)) for part in value))

    @property
    def shows_defended(self) -> bool:
        """Whether a client may see its defended image."""
        return self.defend_endpoint and self.response_detail == "full"

    @property
    def pipelines(self) -> dict[str, Pipeline]:
        """The allowed defences by their specification, the default first."""
        names = dict.fromkeys((self.defense, *self.allow_defense))
        return {name: Pipeline.parse(name) for name in names}


class SchedulingSettings(Group):
    """How many images are worked on at once, and for how long."""

    preprocess_threads: int = Field(default_factory=lambda: available_cpus() + 1, ge=1, le=1024)
    """Threads that decode and defend; by default one more than there are CPUs, because some of them
    wait for Python's lock."""
    inference_streams: int = Field(default_factory=available_cpus, ge=1, le=1024)
    """Inferences that run side by side; by default as many as there are CPUs. Give a GPU 1 or 2."""
    max_batch: int = Field(1, ge=1, le=256)
    """Most images of one inference. On a CPU a batch takes as long as its images one by one; give a
    GPU 8 or more."""
    batch_window_ms: float = Field(0.0, ge=0, le=1000)
    """How long the first image of a batch waits for others. With 0 a batch is what arrived while
    the one before it ran."""
    max_in_flight: int = Field(256, ge=1, le=65536)
    """Most images at work at once, each draw counting as one; over it, 429."""
    deadline_ms: float = Field(10_000.0, gt=0, le=3_600_000)
    """Longest time for one request; over it, 504."""


class LimitSettings(Group):
    """How large a request may be."""

    max_images: int = Field(32, ge=1, le=1024)
    """Most files in one request."""
    max_body_bytes: int = Field(32 * 1024 * 1024, ge=1024, le=2**31)
    """Largest request body, and largest answer under /v2."""
    max_buffered_bytes: int = Field(256 * 1024 * 1024, ge=1024, le=2**40)
    """Most bytes of bodies held at once, of requests and of answers; over it the client that holds
    most gets 429."""
    max_defend_bytes: int = Field(448 * 1024 * 1024, ge=2**20, le=2**40)
    """Most memory that all images of /v1/defend take at once. An image that needs more with its
    defence gets 413."""
    max_pixels: int = Field(25_000_000, ge=64, le=10**9)
    """Largest image, by the size its header declares."""


class PredictorSettings(SchedulingSettings, DefenseSettings, LimitSettings):
    """What the spine needs."""
