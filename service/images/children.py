"""Processes that work on one image after another, and can be stopped.

A process is started when the first image needs it, and one that was stopped is replaced. It holds
none of the server's secrets, and it ends with the server.
"""

import json
import math
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from io import BufferedReader, BufferedWriter
from pathlib import Path
from typing import Any, cast

from service.errors import DeadlineError
from service.images.child import read_exactly

_PIPE_BYTES = 1 << 20  # where the system allows it: fewer turns between the two processes
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONHOME", "LANG", "LC_ALL")


class Child:
    """A process that works on one image at a time."""

    def __init__(self) -> None:
        try:
            self._process = _popen(_PIPE_BYTES)
        except PermissionError:  # this user has many pipes, or the system allows only small ones
            self._process = _popen(-1)
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

    def ask(
        self, job: Mapping[str, Any], *parts: bytes, most_bytes: int
    ) -> tuple[dict[str, Any], bytearray]:
        """Send a job; return the answer, and the bytes that follow it.

        Args:
            job: goes as JSON.
            parts: the bytes that follow the job, whose lengths it has.
            most_bytes: the most bytes that may follow the answer.

        Raises:
            MemoryError: the child reached its limit of memory.
            OSError, EOFError, ValueError: the child ended, or answered nonsense.
        """
        to_child = cast(BufferedWriter, self._process.stdin)
        from_child = cast(BufferedReader, self._process.stdout)
        self._owes_answer = True
        head = json.dumps(job).encode()
        for part in (len(head).to_bytes(4), head, *parts):
            to_child.write(part)
        to_child.flush()
        answer = json.loads(read_exactly(from_child, int.from_bytes(read_exactly(from_child, 4))))
        size = int(answer.get("bytes", 0))
        if not 0 <= size <= most_bytes:
            raise ValueError("the answer is larger than the image explains")
        data = bytearray(size)
        if from_child.readinto(data) < size:
            raise EOFError
        self._owes_answer = False
        if "memory" in answer:
            raise MemoryError("the process reached its limit")
        return answer, data

    @contextmanager
    def stopped_after(self, seconds: float) -> Iterator[None]:
        """Kill the child unless the block ends before."""
        self._is_busy = True
        timer = threading.Timer(max(0.0, seconds), self.stop)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            with self._lock:
                self._is_busy = False

    def stop(self) -> None:
        """Kill it if it is at work, from any thread."""
        with self._lock:
            if self._is_busy:
                self.timed_out = True
                self._process.kill()

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


class Pool:
    """Some children: those that wait for work, and those that are lent."""

    def __init__(self, most_children: int, too_late: str) -> None:
        """Set up a pool, without a child.

        Args:
            most_children: how many may work at once.
            too_late: what to say to those who wait in vain.
        """
        self.most_children = most_children
        self._too_late = too_late
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()
        self._idle: list[Child] = []
        self._lent: dict[Child, int] = {}

    @contextmanager
    def lent(self, memory_bytes: int, until_s: float, most_bytes: int) -> Iterator[Child]:
        """Lend a child that may take so much memory, in the order of the callers.

        Args:
            memory_bytes: what the child may take.
            until_s: when the caller stops waiting, as :func:`time.monotonic` counts.
            most_bytes: the most memory of all children that are lent, unless it is one alone.

        Raises:
            DeadlineError: none was free before ``until_s``.
            MemoryError: no process could be started.
        """
        child = self._take(memory_bytes, until_s, most_bytes)
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

    def _take(self, memory_bytes: int, until_s: float, most_bytes: int) -> Child:
        ticket = object()

        def is_free() -> bool:
            memory = sum(self._lent.values())
            return self._waiting[0] is ticket and (
                not self._lent
                or (len(self._lent) < self.most_children and memory + memory_bytes <= most_bytes)
            )

        with self._changed:
            self._waiting.append(ticket)
            try:
                wait_s = None if until_s == math.inf else max(0.0, until_s - time.monotonic())
                if not self._changed.wait_for(is_free, wait_s):
                    raise DeadlineError(self._too_late)
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


def _popen(pipe_bytes: int) -> subprocess.Popen[bytes]:
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    # Our own folder is first, because the others may have a package of the same name.
    folders = (str(Path(__file__).parents[2]), *(path or str(Path.cwd()) for path in sys.path))
    variables["PYTHONPATH"] = os.pathsep.join(folders)
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "service.images.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=variables | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
        pipesize=pipe_bytes,
        start_new_session=True,  # a signal to the server's group is not for it
    )


def _start() -> Child:
    try:
        return Child()
    except OSError as error:
        raise MemoryError(f"no process to work in could be started: {error}") from None
