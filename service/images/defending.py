"""What a child process does to defend an image: decode, defend, encode."""

import time
import traceback
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from random import SystemRandom
from typing import Any

import cv2

from defenses import DefenseError, Pipeline
from service.errors import ServiceError, is_out_of_memory
from service.images.containers.container import Container
from service.images.pixels import load, reasons, to_array
from service.images.png import encoded_png
from service.server.process import tune_malloc

_RANDOM = SystemRandom()

cv2.setNumThreads(1)
tune_malloc(1 << 20)  # what large images leave behind would count as theirs
_load = lru_cache(maxsize=16)(Pipeline.parse)


class Defending:
    """Defends images with one pipeline."""

    def __init__(self, defense: str, files: Sequence[str]) -> None:
        """Load the pipeline, unless this process has it.

        Args:
            defense: its specification.
            files: the versions of the files that it was made of in the server.
        """
        self._stages: list[tuple[str, float, float]] = []
        self._failure: str | None = None
        try:
            self._pipeline = _load(defense)
            if list(self._pipeline.files) != list(files):
                self._failure = f"A file of the defence {defense} has changed: restart the server."
        except Exception:  # noqa: BLE001  # the server logs it
            self._failure = traceback.format_exc()

    def __call__(
        self, container: Container, job: dict[str, Any]
    ) -> tuple[dict[str, Any], Iterable[bytes | memoryview]]:
        """Defend an image; the answer is a PNG file, or an error."""
        del job
        if self._failure is not None:
            return {"failure": self._failure}, ()
        try:
            png = self._defend(container)
        except ServiceError as error:
            return {"error": type(error).__name__, "message": error.message}, ()
        except Exception as error:  # noqa: BLE001  # a library raises anything
            if is_out_of_memory(error):
                return {"memory": True}, ()
            if isinstance(error, DefenseError):
                return {"error": DefenseError.__name__, "message": str(error)}, ()
            return {"failure": traceback.format_exc()}, ()
        return {"stages": self._stages, "bytes": len(png)}, (png,)

    def _defend(self, container: Container) -> memoryview:
        with self._measured("decode"), reasons(container.kind):
            pixels = to_array(*load(container, None))
        with self._measured("defend"):
            defended = self._pipeline(pixels, _RANDOM)
        del pixels
        return encoded_png(defended)

    @contextmanager
    def _measured(self, name: str) -> Iterator[None]:
        started_s = time.perf_counter()
        yield
        self._stages.append((name, started_s, time.perf_counter()))
