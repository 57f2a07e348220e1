"""Decoding in a process that can be stopped: limits that do not depend on knowing every attack.

    a computing thread ──► records ──► a child process ──► pixels
                                       limits of memory and CPU time; killed at its deadline

A child decodes one image after another. It is started when the first image needs it, and a child
that was stopped is replaced. It holds none of the server's secrets, and it ends with the server.
"""

import atexit
import json
import logging
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import fields
from io import BufferedReader
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from service.errors import (
    BadImageError,
    DeadlineError,
    NotReadyError,
    ServiceError,
    UnsupportedMediaError,
)
from service.images.child import OUT_OF_MEMORY_EXIT, read_exactly
from service.images.containers.container import Container

MOST_CHILDREN = max(1, min(4, os.cpu_count() or 1))
MOST_MEMORY_BYTES = 448 << 20
"""The most memory that all children take, unless one image alone needs more."""

_SPARE_MEMORY_BYTES = 64 << 20
_CPU_S, _CPU_S_PER_PIXEL = 1.0, 0.2e-6
_WALL_S, _WALL_S_PER_CPU_S = 10.0, 4.0  # for a child that sleeps, or has no limit of CPU time
_ENDS_S = 1.0
_PIPE_BYTES = 1 << 20  # where the system allows it: fewer turns between the two processes
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME", "LANG", "LC_ALL")

_ERRORS: dict[str, type[ServiceError]] = {
    error.__name__: error for error in (BadImageError, UnsupportedMediaError)
}

_TOO_LATE = "The image was not decoded within the deadline; try again later."
_CPU_LIMIT_EXIT = -getattr(signal, "SIGXCPU", 24)

_log = logging.getLogger(__name__)


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
    pixels = container.width * container.height
    cpu_s = _CPU_S + _CPU_S_PER_PIXEL * pixels
    memory_bytes = container.memory_bytes + len(container.file) + _SPARE_MEMORY_BYTES
    job = {
        "container": {
            field.name: getattr(container, field.name)
            for field in fields(container)
            if field.name not in ("file", "icc")
        },
        "file_bytes": len(container.file),
        "icc_bytes": len(container.icc or b""),
        "reduce_to_px": reduce_to_px,
        "cpu_s": cpu_s,
        "memory_bytes": memory_bytes,
    }
    until_s = math.inf if until_s is None else until_s
    if time.monotonic() >= until_s:
        raise DeadlineError(_TOO_LATE)
    with _pool.lent(memory_bytes, until_s) as child:
        wall_s = min(_WALL_S + _WALL_S_PER_CPU_S * cpu_s, until_s - time.monotonic())
        with child.stopped_after(wall_s):
            try:
                return child.ask(job, container)
            except (OSError, EOFError, ValueError):
                child.end(wait_s=_ENDS_S)
                raise _reason(child, container.kind, until_s) from None


def close() -> None:
    """End all children, and what they work at."""
    _pool.close()


def _reason(child: "_Child", kind: str, until_s: float) -> Exception:
    """Say why a child has not answered."""
    code = child.exit_code
    if child.is_closed:
        return NotReadyError("The server is stopping.")
    if time.monotonic() >= until_s:
        return DeadlineError(_TOO_LATE)
    if child.timed_out or code == _CPU_LIMIT_EXIT:
        return BadImageError(f"This {kind} file takes more time to decode than its pixels explain.")
    if code in (OUT_OF_MEMORY_EXIT, -9):  # the kernel kills, too, where there is no memory
        return MemoryError(f"the process that decodes ended with exit code {code}")
    if code is None or code >= 0:
        return RuntimeError(f"the process that decodes does not work: exit code {code}")
    _log.error("A %s file ended the process that decoded it with exit code %s", kind, code)
    return BadImageError(f"This {kind} file cannot be decoded: it ended the decoder.")


class _Child:
    """A process that decodes one image at a time."""

    def __init__(self) -> None:
        variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
        variables["PYTHONPATH"] = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "service.images.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=variables | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            pipesize=_PIPE_BYTES,
            start_new_session=True,  # a signal to the server's group is not for it
        )
        self._lock = threading.Lock()
        self._is_busy = False
        self._owes_answer = False
        self.timed_out = False
        self.is_closed = False
        self.exit_code: int | None = None

    @property
    def is_usable(self) -> bool:
        """Whether it takes another job: it lives, and no part of an answer is left."""
        is_ended = self.timed_out or self.is_closed or self._process.poll() is not None
        return not (is_ended or self._owes_answer)

    def ask(self, job: dict[str, object], container: Container) -> NDArray[np.uint8]:
        """Send a job, and read the answer.

        Raises:
            ServiceError: the image cannot be decoded.
            MemoryError: not within the limit of memory.
            OSError, EOFError, ValueError: the child ended, or answered nonsense.
        """
        to_child, from_child = self._process.stdin, cast(BufferedReader, self._process.stdout)
        assert to_child is not None  # noqa: S101  # it is a pipe
        self._owes_answer = True
        head = json.dumps(job).encode()
        for part in (len(head).to_bytes(4), head, container.icc or b"", container.file):
            to_child.write(part)
        to_child.flush()
        answer = json.loads(read_exactly(from_child, int.from_bytes(read_exactly(from_child, 4))))
        self._owes_answer = "size" in answer
        if "memory" in answer:
            raise MemoryError("the process that decodes reached its limit")
        if "error" in answer:
            raise _ERRORS[answer["error"]](answer["message"])
        height, width = map(int, answer["size"])
        if not 0 < height * width <= container.width * container.height:
            raise ValueError("an image of another size came back")
        pixels = bytearray(height * width * 3)
        if from_child.readinto(pixels) < len(pixels):
            raise EOFError
        self._owes_answer = False
        return np.frombuffer(pixels, np.uint8).reshape(height, width, 3)

    @contextmanager
    def stopped_after(self, seconds: float) -> Iterator[None]:
        """Kill the child unless the block ends before."""

        def stop() -> None:
            with self._lock:
                if self._is_busy:
                    self.timed_out = True
                    self._process.kill()

        self._is_busy = True
        timer = threading.Timer(max(0.0, seconds), stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._is_busy = False

    def close(self) -> None:
        """End it, even while a thread waits for its answer."""
        self.is_closed = True
        self._process.kill()

    def end(self, wait_s: float = 0.0) -> None:
        """End it, and release what belongs to it.

        Args:
            wait_s: how long it may take to end by itself, as it does where its pipe is closed.
        """
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
        self.exit_code = self._process.poll()
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(OSError):
                pipe.close()  # type: ignore[union-attr]
        self._process.wait()


class _Pool:
    """The children: some that wait for work, and those that are lent."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._idle: list[_Child] = []
        self._lent: dict[_Child, int] = {}

    @contextmanager
    def lent(self, memory_bytes: int, until_s: float) -> Iterator[_Child]:
        """Lend a child that may take so much memory, in the order of the callers.

        Raises:
            DeadlineError: none was free before ``until_s``.
            MemoryError: no process could be started.
        """
        child = self._take(memory_bytes, until_s)
        try:
            yield child
        finally:
            with self._changed:
                del self._lent[child]
                if child.is_usable:
                    self._idle.append(child)
                else:
                    child.end()
                self._changed.notify_all()

    def close(self) -> None:
        """End all children."""
        with self._changed:
            for child in self._idle:
                child.end()
            self._idle.clear()
            for child in self._lent:  # the threads that wait for them release them
                child.close()

    def _take(self, memory_bytes: int, until_s: float) -> _Child:
        ticket = object()

        def is_free() -> bool:
            memory = sum(self._lent.values())
            return self._waiting[0] is ticket and (
                not self._lent
                or (len(self._lent) < MOST_CHILDREN and memory + memory_bytes <= MOST_MEMORY_BYTES)
            )

        with self._changed:
            self._waiting.append(ticket)
            try:
                wait_s = None if until_s == math.inf else max(0.0, until_s - time.monotonic())
                if not self._changed.wait_for(is_free, wait_s):
                    raise DeadlineError(_TOO_LATE)
                child = self._idle.pop() if self._idle else None
                if child is not None and not child.is_usable:
                    child.end()
                    child = None
                child = child or _start()
                self._lent[child] = memory_bytes
                return child
            finally:
                self._waiting.remove(ticket)
                self._changed.notify_all()


def _start() -> _Child:
    try:
        return _Child()
    except OSError as error:
        raise MemoryError(f"no process to decode in could be started: {error}") from None


_pool = _Pool()
atexit.register(close)
