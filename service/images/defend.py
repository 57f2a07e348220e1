"""Defending with fresh randomness, which no client can choose or repeat.

file ──► containers.walk ──► a small image      in this thread, like those of /v1/predict
                      └────► isolated.defend    in a process that can be stopped
"""

from collections.abc import Callable, Iterable
from random import SystemRandom

from defenses import MIN_SIDE_PX, Pipeline
from service.errors import BadRequestError
from service.images import isolated
from service.images.containers import walk
from service.images.decode import decode
from service.images.limits import Limits
from service.images.png import encode_png
from service.scheduling.deadline import Until
from service.telemetry.timings import Timings

SYSTEM_RANDOM = SystemRandom()
"""The operating system's generator. Each draw takes fresh numbers from it; it has no seed."""

_SMALL_PIXELS = 512 * 512  # about as many as a classifier takes: /v1/predict defends no more


def check_defenses(pipelines: Iterable[Pipeline], height_px: int, width_px: int) -> None:
    """Make sure that images of one size can be defended.

    Raises:
        DefenseError: a defence does not take images of this size.
    """
    for pipeline in pipelines:
        pipeline.sample(SYSTEM_RANDOM, (height_px, width_px))


def defend_file(
    body: bytes,
    pipeline: Pipeline,
    *,
    max_pixels: int,
    max_memory_bytes: int,
    on_pixels: Callable[[int], None],
    until: Until,
    timings: Timings,
) -> bytes | memoryview:
    """Defend an image file at its own size.

    Args:
        body: the file's bytes.
        pipeline: the defence.
        max_pixels: the most that the file's header may declare, width times height.
        max_memory_bytes: the most memory that larger images may take, all together.
        on_pixels: called with the image's pixels, before it is decoded.
        until: when the request ends, and with it the work.
        timings: gets the stages ``decode`` and ``defend``.

    Returns:
        The defended image as a PNG file.

    Raises:
        ServiceError, DefenseError: the image cannot be decoded or defended.
        MemoryError: there is not enough memory.
    """
    if not body:
        raise BadRequestError("The body is empty: send the bytes of an image file.")
    until.check()
    container = walk(body, Limits(max_pixels, MIN_SIDE_PX))
    pixels = container.width * container.height
    on_pixels(pixels)
    if pixels <= _SMALL_PIXELS:
        with timings.measure("decode"):
            image = decode(body, max_pixels=max_pixels, until_s=until.at_s)
        until.check()
        with timings.measure("defend"):
            defended = pipeline(image, SYSTEM_RANDOM)
        return encode_png(defended)
    result = isolated.defend(container, pipeline, max_memory_bytes=max_memory_bytes, until=until)
    for name, (begun_s, ended_s) in result.stages.items():
        timings.record(name, begun_s, ended_s)
    return result.png
