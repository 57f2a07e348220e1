"""Measure how soon /healthz answers while the queue is full."""

import http.client
import multiprocessing
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from benchmarks.server import ask, serving
from benchmarks.timing import Result

CLIENTS = 24
SECONDS = 8.0
MAX_IN_FLIGHT = 16


def photograph() -> bytes:
    """Return a JPEG photograph from the package foolbox."""
    spec = find_spec("foolbox")
    if spec is None or spec.origin is None:
        raise RuntimeError("the photographs are in the package foolbox: use 'make bench'")
    return min((Path(spec.origin).parent / "data").glob("imagenet_*.jpg")).read_bytes()


def flood(port: int, until: float, statuses: "multiprocessing.Queue[dict[int, int]]") -> None:
    """Post photographs from many clients without a pause, and report how many got each status."""
    body = photograph()
    counts: dict[int, int] = {}
    lock = threading.Lock()

    def client() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        while time.time() < until:
            connection.request("POST", "/v1/predict", body)
            answer = connection.getresponse()
            answer.read()
            with lock:
                counts[answer.status] = counts.get(answer.status, 0) + 1
            if answer.status == 429:
                time.sleep(0.02)

    threads = [threading.Thread(target=client) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    statuses.put(counts)


def measure() -> list[Result]:
    """Flood a server with more clients than it admits, and time /healthz meanwhile."""
    times_ms: list[float] = []
    with serving("--max-in-flight", str(MAX_IN_FLIGHT)) as server:
        statuses: multiprocessing.Queue[dict[int, int]] = multiprocessing.Queue()
        load = multiprocessing.Process(
            target=flood, args=(server.port, time.time() + SECONDS, statuses)
        )
        load.start()
        time.sleep(1.0)
        while load.is_alive() and len(times_ms) < 10 * SECONDS:
            started = time.perf_counter()
            ask(http.client.HTTPConnection("127.0.0.1", server.port, timeout=60), "/healthz")
            times_ms.append(1e3 * (time.perf_counter() - started))
            time.sleep(0.08)
        counts = statuses.get(timeout=60)
        load.join()
    served, refused = counts.pop(200, 0), counts.pop(429, 0)
    worst = max(times_ms)
    return [
        Result("answers 200 under load", served, ""),
        Result("answers 429: the queue was full", refused, "", "> 0", refused > 0),
        Result("other answers", sum(counts.values()), "", "0", not counts),
        Result("/healthz, median", float(np.median(times_ms)), "ms"),
        Result(f"/healthz, slowest of {len(times_ms)}", worst, "ms", "<= 50 ms", worst <= 50),
    ]
