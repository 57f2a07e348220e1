"""The child process that decodes and defends images: ``python -m service.images.child``.

It reads jobs from its standard input and answers on its standard output, until the input ends. A
job begins with the length of a JSON text and that text; an answer does too. Bytes that the text
announces follow it.
"""

import json
import math
import os
import sys
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from itertools import chain
from pathlib import Path
from typing import IO, Any

from service.errors import ServiceError
from service.images.containers.container import Container
from service.images.pixels import bands, load, reasons
from service.server.process import release_memory, tune_malloc

_KEPT_BYTES = 128 << 20  # a child that waits keeps no more than a job of so much memory leaves

OUT_OF_MEMORY_EXIT = 75
"""The exit status of a child that runs out of memory while it answers."""

Answer = tuple[dict[str, Any], Iterable[bytes | memoryview]]
"""The JSON of an answer, and the bytes that follow it."""


def main() -> None:
    """Work until the input ends."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # a library may print there
    _limit("RLIMIT_CORE", 0)
    tune_malloc()
    jobs = sys.stdin.buffer
    with suppress(EOFError, BrokenPipeError):
        while True:
            job = json.loads(read_exactly(jobs, int.from_bytes(read_exactly(jobs, 4))))
            icc = read_exactly(jobs, job["icc_bytes"]) or None
            file = read_exactly(jobs, job["file_bytes"])
            work = _defending(job) if "defense" in job else _decode  # may load the defence
            _limit("RLIMIT_CPU", math.ceil(time.process_time() + job["cpu_s"]))
            _limit("RLIMIT_AS", _address_space_bytes() + job["memory_bytes"])
            try:
                found = {name: _as_tuple(value) for name, value in job["container"].items()}
                _write(answers, *work(Container(**found, file=file, icc=icc), job))
            except MemoryError:
                sys.exit(OUT_OF_MEMORY_EXIT)
            finally:
                _limit("RLIMIT_AS", None)
                _limit("RLIMIT_CPU", None)  # reading the next job is not a file's work
            del file, icc, found
            if job["memory_bytes"] > _KEPT_BYTES:
                release_memory()


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: the stream has fewer.
    """
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _decode(container: Container, job: dict[str, Any]) -> Answer:
    try:
        with reasons(container.kind):
            image, rest = load(container, job["reduce_to_px"])
            rows = bands(image, rest)
            _, first = next(rows)  # an error is an answer up to here
    except ServiceError as error:
        return {"error": type(error).__name__, "message": error.message}, ()
    except MemoryError:
        return {"memory": True}, ()
    size = (image.height, image.width)
    following = (band.tobytes() for _, band in chain([(0, first)], rows))
    return {"size": size, "bytes": 3 * image.height * image.width}, following


def _defending(job: dict[str, Any]) -> Callable[[Container, dict[str, Any]], Answer]:
    # A child that only decodes does not import OpenCV, which would double its memory.
    from service.images.defending import Defending

    return Defending(job["defense"], job["defense_files"])


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _write(
    answers: IO[bytes], answer: dict[str, Any], following: Iterable[bytes | memoryview]
) -> None:
    text = json.dumps(answer).encode()
    answers.write(len(text).to_bytes(4) + text)
    for part in following:
        answers.write(part)
    answers.flush()


def _address_space_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
    except OSError:  # not Linux: no limit
        return 1 << 62
    return pages * os.sysconf("SC_PAGE_SIZE")


def _limit(name: str, value: int | None) -> None:
    """Set a limit of this process, where the operating system has such limits."""
    with suppress(ImportError, AttributeError, ValueError, OSError):
        import resource

        number = getattr(resource, name)
        _, hard = resource.getrlimit(number)
        soft = hard if value is None else value
        resource.setrlimit(number, (soft if hard < 0 else min(soft, hard), hard))


if __name__ == "__main__":
    main()
