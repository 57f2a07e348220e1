"""Measure what one client waits for while another one floods the server."""

import asyncio
import http.client
import multiprocessing
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import load
from benchmarks.health import photograph
from benchmarks.server import ask, serving
from benchmarks.timing import Result
from service.auth import key_file

CONNECTIONS = 80
DRAWS = (1, 4)
"""Of the flood's requests; with four draws they are more images than the server admits at once."""
REQUESTS = 60
"""How many requests the other client sends, one a second."""
ENDLESS = 10**9


def post(
    port: int, key: str, *, draws: int, clients: int, requests: int, rate: float | None
) -> tuple[list[float], int]:
    """Post photographs; return the times in ms of the answers 200, and how many others came."""
    done = asyncio.run(
        load.run(
            port,
            f"/v1/predict?draws={draws}",
            photograph(),
            "image/jpeg",
            clients,
            requests,
            rate,
            key,
        )
    )
    return done.times_ms, sum(done.statuses.values()) - len(done.times_ms)


def measure() -> list[Result]:
    """Ask once a second, first alone and then beside floods with another key."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "keys.txt")
        keys = []
        for name in ("honest", "flood"):
            key, line = key_file.new(name)
            key_file.append(file, line)
            keys.append(key)
        honest, flooding = keys
        with serving("--api-keys", str(file)) as server:

            def once_a_second(requests: int) -> tuple[float, int]:
                times_ms, refused = post(
                    server.port, honest, draws=1, clients=2, requests=requests, rate=1.0
                )
                return float(np.percentile(times_ms, 99)) if times_ms else np.inf, refused

            once_a_second(5)
            alone_ms, _ = once_a_second(REQUESTS)
            results = [Result("p99 of one request a second, alone", alone_ms, "ms")]
            batch_ms = 0.0
            for draws in DRAWS:
                options = {"draws": draws, "clients": CONNECTIONS, "requests": ENDLESS}
                flood = multiprocessing.Process(
                    target=post, args=(server.port, flooding), kwargs={**options, "rate": None}
                )
                flood.start()
                time.sleep(3.0)
                began_s, before_s, before = time.perf_counter(), *_inferences(server.port)
                p99_ms, refused = once_a_second(REQUESTS)
                ended_s, after_s, after = time.perf_counter(), *_inferences(server.port)
                flood.terminate()
                flood.join()
                # The inference of a request with several draws is several batches.
                batch_ms = batch_ms or 1e3 * (after_s - before_s) / (after - before)
                most_ms = 3 * alone_ms + batch_ms
                met = p99_ms <= most_ms
                rate = (after - before) / (ended_s - began_s)
                beside = f"beside {CONNECTIONS} connections with draws={draws}"
                results += [
                    Result(f"the same, {beside}", p99_ms, "ms", f"<= {most_ms:.0f} ms", met),
                    Result(f"its answers other than 200, {beside}", refused, "", "0", not refused),
                    Result(f"requests of both, {beside}", rate, "/s"),
                ]
            results.append(Result("one batch, beside the flood", batch_ms, "ms"))
    return results


def _inferences(port: int) -> tuple[float, float]:
    """The seconds of all requests' inferences so far, and how many these are."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    lines = ask(connection, "/metrics").decode().splitlines()
    name = 'warpguard_stage_seconds_{}{{stage="infer"}} '
    found = [
        line for kind in ("sum", "count") for line in lines if line.startswith(name.format(kind))
    ]
    total_s, count = (float(line.rpartition(" ")[2]) for line in found)
    return total_s, count
