"""Work on images in processes that can be stopped: limits that do not depend on knowing every file.

    a computing thread ──► records ──► a child process ──► pixels, or the defended image's file
                                       limits of memory and CPU time; killed at its deadline

The children that defend are not those that decode, because a defence may take as long as the
deadline allows, and files of /v1/predict do not wait for it.
"""

import atexit
import logging
import math
import os
import signal
import time
from bisect import bisect_right
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from defenses import DefenseError, Pipeline
from service.errors import (
    BadImageError,
    DeadlineError,
    NotReadyError,
    TooManyPixelsError,
    UnsupportedMediaError,
)
from service.images.child import OUT_OF_MEMORY_EXIT
from service.images.children import Child, Pool
from service.images.containers.container import Container
from service.scheduling.deadline import Until

MOST_CHILDREN = max(1, min(4, os.cpu_count() or 1))
"""The most children that decode at once, and the most that defend."""
MOST_MEMORY_BYTES = 448 << 20
"""The most memory that all children that decode take, unless one image alone needs more."""

_SPARE_MEMORY_BYTES = 64 << 20
_CPU_S, _CPU_S_PER_PIXEL = 1.0, 0.2e-6
_WALL_S, _WALL_S_PER_CPU_S = 10.0, 4.0  # for a child that sleeps, or has no limit of CPU time
_ENDS_S = 1.0
_PIXEL_BYTES = 3
_ENCODING_BYTES, _MOST_PNG_BYTES = 10, 4  # for each pixel
_PNG_HEAD_BYTES = 1 << 20

_ERRORS: dict[str, type[Exception]] = {
    error.__name__: error for error in (BadImageError, UnsupportedMediaError, DefenseError)
}

_TOO_LATE = "The image was not {} within the deadline; try again later."
_CPU_LIMIT_EXIT = -getattr(signal, "SIGXCPU", 24)

T = TypeVar("T")

_log = logging.getLogger(__name__)

_decoding = Pool(MOST_CHILDREN, _TOO_LATE.format("decoded"))
_defending = Pool(MOST_CHILDREN, _TOO_LATE.format("defended"))


@dataclass(frozen=True)
class Defended:
    """A defended image.

    Attributes:
        png: the image as a PNG file.
        stages: the times of :func:`time.perf_counter` at which each stage began and ended.
    """

    png: memoryview
    stages: Mapping[str, tuple[float, float]]


def decode(
    container: Container, *, reduce_to_px: int | None, until_s: float | None
) -> NDArray[np.uint8]:
    """Decode an image in a child process.

    Args:
        container: its records.
        reduce_to_px: see :func:`service.images.decode.decode`.
        until_s: the time of :func:`time.monotonic` at which nobody waits any more; None waits as
            long as the image's pixels explain.

    Raises:
        ServiceError: the image cannot be decoded, or not within the limit of time.
        MemoryError: there is not enough memory, or the limit of memory is too low.
    """
    cpu_s = _CPU_S + _CPU_S_PER_PIXEL * container.width * container.height
    memory_bytes = container.memory_bytes + len(container.file) + _SPARE_MEMORY_BYTES
    job = {"reduce_to_px": reduce_to_px, "cpu_s": cpu_s, "memory_bytes": memory_bytes}
    until_s = math.inf if until_s is None else until_s
    if time.monotonic() >= until_s:
        raise DeadlineError(_TOO_LATE.format("decoded"))
    with _decoding.lent(memory_bytes, until_s, MOST_MEMORY_BYTES) as child:
        wall_s = min(_WALL_S + _WALL_S_PER_CPU_S * cpu_s, until_s - time.monotonic())
        most_bytes = _PIXEL_BYTES * container.width * container.height
        with child.stopped_after(wall_s):
            return _asked(child, job, container, most_bytes, until_s, _decoded)


def defend(
    container: Container, pipeline: Pipeline, *, max_memory_bytes: int, until: Until
) -> Defended:
    """Decode, defend and encode an image in a child process, which ends when nobody waits for it.

    Args:
        container: the image's records.
        pipeline: the defence.
        max_memory_bytes: the most memory that all children that defend take.
        until: when the request ends.

    Raises:
        TooManyPixelsError: the defence needs more memory for an image of this size; nothing was
            done, unless the defence does not declare what it needs.
        ServiceError: the image cannot be decoded, or not within the limit of time.
        DefenseError: the defence does not take images of this size.
        MemoryError: there is not enough memory.
    """
    declared = memory_bytes(container, pipeline)
    needed = max_memory_bytes if declared is None else declared
    if needed > max_memory_bytes:
        most = _most_pixels(container, pipeline, max_memory_bytes)
        raise TooManyPixelsError(
            f"The image has {container.width} x {container.height} pixels; for the defence "
            f"{pipeline} this server takes at most {most} pixels of this shape."
        )
    left_s = until.at_s - time.monotonic()
    job = {
        "reduce_to_px": None,
        "cpu_s": max(0.0, left_s) + _ENDS_S,
        "memory_bytes": needed + _SPARE_MEMORY_BYTES,
        "defense": str(pipeline),
        "defense_files": pipeline.files,
    }
    most_bytes = _MOST_PNG_BYTES * container.width * container.height + _PNG_HEAD_BYTES
    try:
        with _defending.lent(needed, until.at_s, max_memory_bytes) as child:
            until.check()
            wall_s = until.at_s - time.monotonic()
            with child.stopped_after(wall_s), until.ending(child.stop):
                return _asked(child, job, container, most_bytes, until.at_s, _defended)
    except MemoryError:
        if declared is not None:
            raise
        raise TooManyPixelsError(
            f"The image has {container.width} x {container.height} pixels, for which the defence "
            f"{pipeline} needs more memory than this server gives it: send a smaller image."
        ) from None


def memory_bytes(container: Container, pipeline: Pipeline) -> int | None:
    """Return what decoding, defending and encoding an image takes; None if nobody knows."""
    width, height = container.width, container.height
    # The image may stand upright or lie on its side, and a defence may depend on that.
    both = [pipeline.memory_bytes(shape) for shape in ((height, width), (width, height))]
    defending = [each for each in both if each is not None]
    if len(defending) < len(both):
        return None
    pixels_bytes = _PIXEL_BYTES * width * height
    steps = (
        pixels_bytes + container.memory_bytes,
        pixels_bytes + max(defending),
        pixels_bytes + _ENCODING_BYTES * width * height,
    )
    return len(container.file) + max(steps)


def close() -> None:
    """End all children, and what they work at."""
    _decoding.close()
    _defending.close()


def _decoded(answer: Mapping[str, Any], pixels: bytearray) -> NDArray[np.uint8]:
    height, width = answer["size"]
    return np.frombuffer(pixels, np.uint8).reshape(height, width, _PIXEL_BYTES)


def _defended(answer: Mapping[str, Any], png: bytearray) -> Defended:
    stages = {name: (begun, ended) for name, begun, ended in answer["stages"]}
    return Defended(memoryview(png), stages)


def _asked(
    child: Child,
    job: Mapping[str, Any],
    container: Container,
    most_bytes: int,
    until_s: float,
    read: Callable[[Mapping[str, Any], bytearray], T],
) -> T:
    """Have a child work on an image; raise the error that it answers with, or why it ended."""
    icc = container.icc or b""
    about = {
        "container": {
            field.name: getattr(container, field.name)
            for field in fields(container)
            if field.name not in ("file", "icc")
        },
        "file_bytes": len(container.file),
        "icc_bytes": len(icc),
    }
    try:
        answer, data = child.ask({**job, **about}, icc, container.file, most_bytes=most_bytes)
        failed: Exception | None = None
        if "error" in answer:
            failed = _ERRORS[answer["error"]](answer["message"])
        elif "failure" in answer:
            failed = RuntimeError(answer["failure"])
        else:
            return read(answer, data)
    except (OSError, EOFError, ValueError, LookupError, TypeError, AttributeError) as error:
        child.end(wait_s=_ENDS_S)
        raise _reason(child, job, container.kind, until_s, error) from None
    raise failed


def _reason(
    child: Child, job: Mapping[str, Any], kind: str, until_s: float, error: Exception
) -> Exception:
    """Return why a child has not answered, or has answered nonsense."""
    code, defends = child.exit_code, "defense" in job
    if child.is_closed:
        return NotReadyError("The server is stopping.")
    if time.monotonic() >= until_s or (defends and child.timed_out):
        return DeadlineError(_TOO_LATE.format("defended" if defends else "decoded"))
    if child.timed_out or code == _CPU_LIMIT_EXIT:
        return BadImageError(f"This {kind} file takes more time to decode than its pixels explain.")
    if code in (OUT_OF_MEMORY_EXIT, -9):  # the kernel kills it if memory runs out
        return MemoryError(f"the process that decodes ended with exit code {code}")
    if code is None or code >= 0:
        work = "defends" if defends else "decodes"
        what = "its answer is not valid" if code is None else f"it ended with exit code {code}"
        _log.error("The process that %s images failed: %s (%s)", work, what, type(error).__name__)
        return NotReadyError(f"The process that {work} images failed; try again.")
    _log.error("A %s file ended the process that decoded it with exit code %s", kind, code)
    return BadImageError(f"This {kind} file cannot be decoded: it ended the decoder.")


def _most_pixels(container: Container, pipeline: Pipeline, max_memory_bytes: int) -> int:
    """Return about how many pixels of an image of the same shape the memory is enough for."""
    pixels = container.width * container.height
    spare = len(container.file) + container.memory_bytes

    def needed(height: int) -> int:
        width = max(1, height * container.width // container.height)
        declared = pipeline.memory_bytes((height, width)) or 0
        return spare * height * width // pixels + _PIXEL_BYTES * height * width + declared

    height = bisect_right(range(1, container.height), max_memory_bytes, key=needed)
    return height * max(1, height * container.width // container.height)


atexit.register(close)
