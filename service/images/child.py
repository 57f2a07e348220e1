"""The child process that decodes images: ``python -m service.images.child``.

It reads jobs from its standard input and answers on its standard output, until the input ends. A
job begins with the length of a JSON text and that text; an answer does too. Bytes that the text
announces follow it.
"""

import json
import math
import os
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

from service.errors import ServiceError
from service.images.containers.container import Container
from service.images.pixels import bands, load, reasons
from service.server.process import tune_malloc

OUT_OF_MEMORY_EXIT = 75
"""The exit status of a child that runs out of memory while it answers."""


def main() -> None:
    """Decode until the input ends."""
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
            _limit("RLIMIT_CPU", math.ceil(time.process_time() + job["cpu_s"]))
            _limit("RLIMIT_AS", _address_space_bytes() + job["memory_bytes"])
            try:
                found = {name: _as_tuple(value) for name, value in job["container"].items()}
                _answer(Container(**found, file=file, icc=icc), job, answers)
            except MemoryError:
                sys.exit(OUT_OF_MEMORY_EXIT)
            finally:
                _limit("RLIMIT_AS", None)
            del file, icc


def read_exactly(stream: IO[bytes], size: int) -> bytes:
    """Read so many bytes.

    Raises:
        EOFError: the stream has fewer.
    """
    data = stream.read(size)
    if len(data) < size:
        raise EOFError
    return data


def _answer(container: Container, job: dict[str, Any], answers: IO[bytes]) -> None:
    try:
        with reasons(container.kind):
            image, rest = load(container, job["reduce_to_px"])
            rows = bands(image, rest)
            _, first = next(rows)  # an error is an answer up to here
    except ServiceError as error:
        _write(answers, {"error": type(error).__name__, "message": error.message})
    except MemoryError:
        _write(answers, {"memory": job["memory_bytes"]})
    else:
        _write(answers, {"size": (image.height, image.width)})
        answers.write(first.tobytes())
        for _, band in rows:
            answers.write(band.tobytes())
        answers.flush()


def _as_tuple(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


def _write(answers: IO[bytes], answer: dict[str, object]) -> None:
    text = json.dumps(answer).encode()
    answers.write(len(text).to_bytes(4) + text)
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
