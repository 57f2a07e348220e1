"""Measure the service and other serving frameworks under load: ``make bench-serve``.

16 closed-loop clients post a JPEG of 500x375 to the embedded model behind ``fd+rdg``. The bound is
the throughput if only decoding, defending and inferring took time:
``cores / (CPU seconds of one image on one thread)``.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import numpy as np
from PIL import Image

from benchmarks.health import photograph
from benchmarks.server import free_port, serving
from benchmarks.timing import Result

CLIENTS = 16
REQUESTS = 1500
MEMORY_REQUESTS = (1_000, 10_000)
RIVALS = ("litserve", "bentoml", "mosec")
ROOT = Path(__file__).parents[1]


def measure() -> list[Result]:
    """Measure the bound, warpguard, and the rival frameworks whose environments exist."""
    with tempfile.TemporaryDirectory() as folder:
        body, form = Path(folder, "photograph.jpg"), Path(folder, "form")
        _write_bodies(body, form)
        image_ms = _cpu_ms_of_one_image(body)
        bound = 1e3 * len(os.sched_getaffinity(0)) / image_ms
        results = [
            Result("decode + defend + infer, one thread", image_ms, "ms CPU"),
            Result("bound", bound, "images/s"),
        ]
        own, own_throughput, own_p99 = _measure_warpguard(body, bound)
        results += own
        best = 0.0
        best_p99 = np.inf
        for name in RIVALS:
            python = ROOT / f".venv-{name}" / "bin" / "python"
            if not python.exists():
                continue
            with _rival(name, python) as (port, path, content_type):
                payload = form if "multipart" in content_type else body
                _load(port, path, payload, content_type, CLIENTS, 200)
                throughput, times = _load(port, path, payload, content_type, CLIENTS, REQUESTS)
            p99 = float(np.percentile(times, 99))
            results.append(Result(f"{name}, {CLIENTS} clients", throughput, "images/s"))
            results.append(Result(f"{name}, {CLIENTS} clients, p99", p99, "ms"))
            best, best_p99 = max(best, throughput), min(best_p99, p99)
        if best:
            ratio = own_throughput / best
            results.append(Result("warpguard / the best rival", ratio, "x", ">= 1.2", ratio >= 1.2))
            p99_ratio = own_p99 / best_p99
            results.append(Result("p99 / the best rival's", p99_ratio, "x", "<= 1", p99_ratio <= 1))
    return results


def _measure_warpguard(body: Path, bound: float) -> tuple[list[Result], float, float]:
    with serving():  # the first start builds the graph
        pass
    started = time.perf_counter()
    with serving() as server:
        ready_s = time.perf_counter() - started

        def load(
            clients: int, requests: int, rate: float | None = None
        ) -> tuple[float, list[float]]:
            return _load(server.port, "/v1/predict", body, "image/jpeg", clients, requests, rate)

        load(CLIENTS, 200)
        unloaded = float(np.median(load(1, 200)[1]))
        throughput, times = load(CLIENTS, REQUESTS)
        p99 = float(np.percentile(times, 99))
        _, half_times = load(CLIENTS, REQUESTS // 2, throughput / 2)
        half_p99 = float(np.percentile(half_times, 99))
        before, after = MEMORY_REQUESTS
        sent = 400 + REQUESTS + REQUESTS // 2
        load(CLIENTS, max(1, before - sent))
        early_mib = _resident_mib(server.pid)
        load(CLIENTS, after - before)
        late_mib = _resident_mib(server.pid)
    share, tail, growth = throughput / bound, half_p99 / unloaded, late_mib / early_mib
    return (
        [
            Result("ready, with the graph in the store", ready_s, "s", "< 3 s", ready_s < 3),
            Result("median, one client", unloaded, "ms"),
            Result(f"throughput, {CLIENTS} clients", throughput, "images/s"),
            Result("throughput / bound", share, "", ">= 0.85", share >= 0.85),
            Result(f"p99, {CLIENTS} clients", p99, "ms"),
            Result("p99 at half the throughput", half_p99, "ms"),
            Result("p99 at half the throughput / median", tail, "x", "<= 3", tail <= 3),
            Result(f"resident after about {before} requests", early_mib, "MiB"),
            Result(f"resident after {after}", late_mib, "MiB", "< 450 MB", late_mib < 429),
            Result("growth between them", growth, "x", "<= 1.05", growth <= 1.05),
        ],
        throughput,
        p99,
    )


def _write_bodies(body: Path, form: Path) -> None:
    source = form.with_suffix(".source")
    source.write_bytes(photograph())
    Image.open(source).convert("RGB").resize((500, 375)).save(body, "JPEG", quality=90)
    form.write_bytes(
        b"--boundary\r\n"
        b'Content-Disposition: form-data; name="image"; filename="photograph.jpg"\r\n'
        b"Content-Type: image/jpeg\r\n\r\n" + body.read_bytes() + b"\r\n--boundary--\r\n"
    )


def _cpu_ms_of_one_image(body: Path) -> float:
    code = (
        "import sys, time; from benchmarks.rivals.classifying import Classifying\n"
        "classify = Classifying(); body = open(sys.argv[1], 'rb').read()\n"
        "for _ in range(30): classify(body)\n"
        "start = time.process_time()\n"
        "for _ in range(200): classify(body)\n"
        "print(1e3 * (time.process_time() - start) / 200)"
    )
    command = [sys.executable, "-c", code, str(body)]
    return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def _load(
    port: int,
    path: str,
    body: Path,
    content_type: str,
    clients: int,
    requests: int,
    rate: float | None = None,
) -> tuple[float, list[float]]:
    """Run the load, and return the throughput in images/s and the times in ms."""
    arguments = [port, path, body, content_type, clients, requests]
    command = [sys.executable, "-m", "benchmarks.load", *map(str, arguments)]
    command += [] if rate is None else [str(rate)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    result = json.loads(done.stdout)
    if set(result["statuses"]) != {"200"}:
        raise RuntimeError(f"not every answer had status 200: {result['statuses']}")
    return requests / result["seconds"], result["times_ms"]


@contextmanager
def _rival(name: str, python: Path) -> Iterator[tuple[int, str, str]]:
    """Run a rival's server; yield its port, its path and the content type that it takes."""
    port = free_port()
    form = "multipart/form-data; boundary=boundary"
    application = f"benchmarks.rivals.{name}_app"
    listen = ["--host", "127.0.0.1", "--port", str(port)]
    commands = {
        "litserve": ([str(python), "-m", application, str(port)], "/predict", form),
        "bentoml": (
            [str(python), "-m", "bentoml", "serve", f"{application}:Classifier", *listen],
            "/predict",
            form,
        ),
        "mosec": (
            [str(python), "-m", application, "--address", "127.0.0.1", "--port", str(port)],
            "/inference",
            "image/jpeg",
        ),
    }
    command, path, content_type = commands[name]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # so that its workers end with it
    )
    try:
        give_up = time.monotonic() + 90
        while not _answers(port):
            if process.poll() is not None or time.monotonic() > give_up:
                raise RuntimeError(f"{name} did not start")
            time.sleep(0.2)
        time.sleep(5.0)  # the workers load the model after the port is open
        yield port, path, content_type
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        time.sleep(2.0)
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(20)


def _answers(port: int) -> bool:
    try:
        urlopen(f"http://127.0.0.1:{port}/", timeout=2).close()
    except URLError as error:
        return hasattr(error, "code")  # any answer counts, also 404
    except OSError:
        return False
    return True


def _resident_mib(pid: int) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("the system does not report the resident memory")
