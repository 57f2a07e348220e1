"""Measure what the signals cost: two servers, one with and one without, asked in turns."""

import http.client
import io
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.health import photograph
from benchmarks.server import ask
from benchmarks.timing import Result
from harness.server import Server

REQUESTS = 1000
"""To each server. The images are of one ball, so that each is compared with a full window."""
WINDOW = 256
MOST = 1.02
_QUIET = ("--log-level", "error")
_ALARM = ("--alarm", "same-picture,concentration")


def measure() -> list[Result]:
    """Ask both servers in turns, with the same image, and compare their percentiles."""
    with (
        Server(*_QUIET, has_admin_port=True) as off,
        Server(*_QUIET, *_ALARM, has_admin_port=True) as on,
    ):
        connections = [
            http.client.HTTPConnection("127.0.0.1", each.port, timeout=60) for each in (off, on)
        ]
        times_ms: list[list[float]] = [[], []]
        images = _ball()
        for number in range(WINDOW + REQUESTS):
            body = next(images)
            turns = (0, 1) if number % 2 else (1, 0)
            for turn in turns:
                began_s = time.perf_counter()
                ask(connections[turn], "/v1/predict", body)
                if number >= WINDOW:
                    times_ms[turn].append(1e3 * (time.perf_counter() - began_s))
        more_mb = (_memory_bytes(on) - _memory_bytes(off)) / 1e6
    results = []
    for name, percentile in (("p50", 50), ("p99", 99)):
        without_ms, with_ms = (float(np.percentile(each, percentile)) for each in times_ms)
        ratio = with_ms / without_ms
        results += [
            Result(f"{name} without signals", without_ms, "ms"),
            Result(f"{name} with signals", with_ms, "ms"),
            Result(f"{name}, ratio", ratio, "x", f"<= {MOST}", ratio <= MOST),
        ]
    return [*results, Result("memory of the signals, one client", more_mb, "MB")]


def _memory_bytes(server: Server) -> int:
    """The memory of a server's process that is resident."""
    pages = Path("/proc", str(server.pid), "statm").read_text("ascii").split()[1]
    return 4096 * int(pages)


def _ball() -> Iterator[bytes]:
    """PNG files of images of one l∞ ball of 8/255, at the size of the embedded model's input."""
    rng = np.random.default_rng(0)
    centre = Image.open(io.BytesIO(photograph())).convert("RGB").resize((299, 299))
    while True:
        step = rng.integers(-8, 9, (299, 299, 3))
        image = Image.fromarray(np.clip(np.asarray(centre) + step, 0, 255).astype(np.uint8))
        file = io.BytesIO()
        image.save(file, "PNG", compress_level=1)
        yield file.getvalue()
