"""Run one case against a server of its own, and compare it with the bounds."""

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.health import photograph
from benchmarks.hostile.case import Case
from benchmarks.hostile.honest import GIVES_UP_S, HEALTH
from benchmarks.hostile.requests import HONEST_KEY, HONEST_LINE, HOSTILE_LINE
from benchmarks.hostile.upstream import HONEST_PATH, MODEL, Upstream
from benchmarks.hostile.watch import Watch, cpu_s, resident_mb, seconds_until_idle
from harness.server import Server

MOST_MEMORY_MB = 600.0
MOST_AFTER_S = 1.0
LEAST_SERVED = 0.95
MOST_HEALTH_MS = 250.0
MOST_LOG_KB = 64.0
"""Beside one kilobyte for each answer, which has a line in the access log."""

_WARM_S, _LEAST_S = 1.5, 3.0
_WATCHES_S = 60.0


@dataclass(frozen=True)
class Outcome:
    """What one case did to a server.

    Attributes:
        name: the case.
        requests: how many hostile requests were sent.
        statuses: how many answers of each status they got; 0 is a connection closed without one.
        seconds: from the first hostile request to the last answer.
        memory_mb: the most resident memory of the server and its children, above idle.
        cpu_s: the CPU time of the server and its children for one request, and the honest ones.
        after_s: how long work, also for honest requests, went on after the last answer.
        honest: how many honest requests were waiting meanwhile.
        served: the share of them that was answered 200.
        health_ms: the slowest answer of /healthz meanwhile; 20,000 if one failed.
        log_kb: what the server wrote into its log.
        missed: the names of the bounds that were missed.
    """

    name: str
    requests: int
    statuses: dict[int, int]
    seconds: float
    memory_mb: float
    cpu_s: float
    after_s: float
    honest: int
    served: float
    health_ms: float
    log_kb: float
    missed: tuple[str, ...]


def run(name: str, case: Case) -> Outcome:
    """Start a server, let an honest client ask, send the case, and wait until work is over."""
    send = case.make()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        photo, log = folder / "photograph.jpg", folder / "server.log"
        photo.write_bytes(photograph())
        options, asks = [*case.options], ["/v1/predict"]
        if case.has_keys:
            keys = folder / "keys.txt"
            keys.write_text(f"{HONEST_LINE}\n{HOSTILE_LINE}\n")
            options += ["--api-keys", str(keys)]
            asks = ["/v1/predict", f"X-API-Key: {HONEST_KEY}"]
        if case.upstream is not None:
            upstream = stack.enter_context(Upstream(case.upstream))
            options += ["--predictor-host", upstream.host, "--model-name", MODEL]
            asks = [HONEST_PATH, "Inference-Header-Content-Length: 0"]
        with Server(*options, log=log) as server:
            program = [sys.executable, "-m", "benchmarks.hostile.honest", str(server.port)]
            honest = subprocess.Popen(
                [*program, str(photo), *asks],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            assert honest.stdout is not None
            honest.stdout.readline()
            begun = time.perf_counter()
            time.sleep(_WARM_S)

            log_bytes, idle_mb, cpu_before = (
                log.stat().st_size,
                resident_mb(server.pid),
                cpu_s(server.pid),
            )
            watch = Watch(server.pid)
            watch.start()
            first = time.perf_counter() - begun
            statuses: Counter[int] = Counter()
            while True:
                statuses += send(server.port)
                last = time.perf_counter() - begun
                if last - first > _LEAST_S or not case.is_repeated:
                    break
            rows = json.loads(honest.communicate("end\n")[0])
            waited_s = time.perf_counter() - begun - last  # for honest requests behind the others
            after_s = waited_s + seconds_until_idle(server.pid, _WATCHES_S)
            watch.stop()
            used_s = cpu_s(server.pid) - cpu_before
            if server.poll() is not None:
                raise RuntimeError(f"{name}: the server ended with exit code {server.returncode}")
            log_kb = (log.stat().st_size - log_bytes) / 1000
    meanwhile = [row for row in rows if row[1] < last and row[1] + row[3] / 1e3 > first]
    predicted = [row[2] for row in meanwhile if row[0] != HEALTH]
    probed = [
        row[3] if row[2] == 200 else 1e3 * GIVES_UP_S for row in meanwhile if row[0] == HEALTH
    ]
    served = predicted.count(200) / max(1, len(predicted))
    memory_mb, health_ms = watch.peak_mb - idle_mb, max(probed, default=0.0)
    requests = sum(statuses.values())
    bounds = {
        "memory": memory_mb <= MOST_MEMORY_MB,
        "after": after_s <= MOST_AFTER_S,
        "honest": served >= LEAST_SERVED or not case.serves_honest,
        "health": health_ms <= MOST_HEALTH_MS,
        "log": log_kb <= MOST_LOG_KB + requests + len(predicted),
    }
    return Outcome(
        name=name,
        requests=requests,
        statuses=dict(sorted(statuses.items())),
        seconds=last - first,
        memory_mb=memory_mb,
        cpu_s=used_s / max(1, requests),
        after_s=after_s,
        honest=len(predicted),
        served=served,
        health_ms=health_ms,
        log_kb=log_kb,
        missed=tuple(bound for bound, is_met in bounds.items() if not is_met),
    )
