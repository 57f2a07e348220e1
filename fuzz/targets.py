"""The coverage-guided targets: ``python -m fuzz.targets NAME CORPUS [libFuzzer options]``.

The names are image, container and oip.

For any bytes, a target may raise only a :class:`ServiceError` of status 4xx.
"""

import resource
import sys
import time
import zlib
from collections.abc import Callable

import atheris

with atheris.instrument_imports(include=["service", "PIL"]):
    from service.errors import ServiceError
    from service.images.containers import walk
    from service.images.limits import Limits
    from service.images.pixels import load, reasons, to_array
    from service.oip import codec
    from service.oip.tensors import RequestLimits

MAX_PIXELS = 100_000
MOST_REPEATS, MOST_REPEATED_BYTES = 2_000, 1 << 18
MAX_SECONDS = 1.0  # the instrumented walk is twenty times slower
MAX_KIB = 16_384
LIMITS = Limits(max_pixels=MAX_PIXELS, min_side_px=8)
OUTPUTS = ("probabilities", "logits")


def image(data: bytes) -> None:
    """Decode an image file in this process, whatever its form."""
    container = walk(data, LIMITS)
    with reasons(container.kind):
        height, width, channels = to_array(*load(container, 64)).shape
    if channels != 3 or height * width > MAX_PIXELS:
        raise AssertionError(f"the decoded image has the shape {(height, width, channels)}")


def container(data: bytes) -> None:
    """Walk over the records of an image file, some of them two thousandfold, within a ceiling."""
    data = _multiplied(data)
    peak_kib, started_s = _peak_kib(), time.thread_time()
    try:
        found = walk(data, LIMITS)
    finally:
        seconds, kib = time.thread_time() - started_s, _peak_kib() - peak_kib
        if seconds > MAX_SECONDS or kib > MAX_KIB:
            raise AssertionError(f"{len(data)} bytes took {seconds:.1f} s and {kib} KiB")
    if found.width * found.height > MAX_PIXELS or len(found.file) > len(data) + 65_536:
        raise AssertionError(f"the container has {len(found.file)} bytes")


def _multiplied(data: bytes) -> bytes:
    """Repeat a part of some files that end in ``*``; the two bytes before it say which part.

    All of them would take most of the time.
    """
    if len(data) < 16 or not data.endswith(b"*") or zlib.crc32(data) % 16:
        return data
    first, last = sorted(len(data) * share // 256 for share in data[-3:-1])
    return (
        data[:first]
        + data[first:last] * min(MOST_REPEATS, MOST_REPEATED_BYTES // max(1, last - first))
        + data[last:]
    )


def _peak_kib() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def oip(data: bytes) -> None:
    """Read an inference request; a first line ``H…`` has the value of the length header."""
    line, newline, body = data.partition(b"\n")
    if newline and line.startswith(b"H"):
        header_length: str | None = line[1:].decode("latin-1")
    else:
        header_length, body = None, data
    limits = RequestLimits(images=8, pixels=MAX_PIXELS)
    inference = codec.decode(body, header_length, outputs=OUTPUTS, limits=limits)
    if not 1 <= len(inference.images.sources) <= limits.images:
        raise AssertionError(f"the request has {len(inference.images.sources)} images")


TARGETS: dict[str, Callable[[bytes], None]] = {"image": image, "container": container, "oip": oip}


def main() -> None:
    """Fuzz one target."""
    name = sys.argv.pop(1)
    target = TARGETS[name]

    def one(data: bytes) -> None:
        try:
            target(data)
        except ServiceError as error:
            if not 400 <= error.status < 500:
                raise

    atheris.Setup(sys.argv, one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
