"""A classifier whose answers are known: the mean colour of a 32x32 image is its logits."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image
from starlette.testclient import TestClient

from models import Classifier, GraphInput, Manifest, Resize, Scaling, Store
from service.app import create_app
from service.settings import Settings

COLOURS = {"red": (220, 20, 20), "green": (20, 220, 20), "blue": (20, 20, 220)}


def colour_graph() -> bytes:
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "ten"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 32, 32])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [helper.make_tensor("ten", TensorProto.FLOAT, [1], [10.0])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def colour_manifest() -> Manifest:
    return Manifest(
        name="colours",
        input=GraphInput(height_px=32, width_px=32),
        resize=Resize(mode="squash"),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=tuple(COLOURS),
    )


def photograph(colour="red", size=(40, 48), kind="PNG", noise=12) -> bytes:
    generator = np.random.default_rng(len(colour))
    pixels = np.array(COLOURS[colour]) + generator.normal(0, noise, (*size, 3))
    buffer = BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(buffer, kind)
    return buffer.getvalue()


@pytest.fixture
def make_photograph():
    return photograph


@pytest.fixture
def load_colours():
    """Gives the classifier, whose ``run`` a test may wrap."""
    return lambda: Classifier(colour_manifest(), colour_graph(), device="cpu", threads=1)


@pytest.fixture
def start(load_colours):
    """Start an application with some settings; returns a client once it is ready."""
    clients = []

    def started(load=load_colours, wait=True, **options) -> TestClient:
        given = {
            "allow_defense": "none fd rand",
            "max_batch": 4,
            "preprocess_threads": 2,
            "threads_per_inference": 1,
        }
        app = create_app(Settings(**(given | options)), load)
        client = TestClient(app)
        client.__enter__()
        clients.append(client)
        while wait and client.get("/readyz").status_code != 200:
            assert app.state.backend.failure is None, app.state.backend.failure
        return client

    yield started
    for client in clients:
        client.__exit__(None, None, None)


@pytest.fixture
def client(start):
    return start()


@pytest.fixture(scope="session")
def colour_store(tmp_path_factory):
    """A store with nothing but that model, so that a server with it starts at once."""
    root = tmp_path_factory.mktemp("colours")
    Store(root).put(colour_manifest(), colour_graph())
    return root


class Process:
    """A server in a process of its own; its log is in a file, so that no pipe can be full."""

    def __init__(self, arguments, log, environment, prefix=()):
        self.port = int(arguments[arguments.index("--port") + 1])
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(
                [*prefix, sys.executable, *arguments], env=os.environ | environment, stderr=file
            )

    @property
    def log(self):
        return self._log.read_text("utf-8")

    @property
    def proc(self):
        return Path("/proc") / str(self.process.pid)

    def connect(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.port), timeout=20)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, path, body=None, headers=None, port=None):
        """One request on a connection of its own; gives the answer with its content read."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=20)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.content = answer.read()
            return answer
        finally:
            connection.close()

    def metric(self, name):
        """The value of a series, its labels included in the name; 0 where there is none."""
        for line in self.ask("/metrics").content.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_until(self, condition, seconds=20):
        give_up = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < give_up, self.log[-3000:]
            time.sleep(0.01)

    def is_ready(self):
        assert self.process.poll() is None, self.log
        try:
            return self.ask("/readyz").status == 200
        except OSError:
            return False

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def exit_code(self, seconds=30):
        try:
            return self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"It has not ended within {seconds} s.\n{self.log}")


@contextmanager
def spawning(folder, store):
    started = []

    def start(*options, fault="none", ready=True, prefix=(), **environment):
        faulty = Path(__file__).with_name("faulty.py")
        arguments = [str(faulty), fault, "serve", "--port", str(free_port())]
        if "--store" not in options:
            arguments += ["--store", str(store), "--model", "colours"]
        log = folder / f"server-{len(started)}.log"
        one = Process([*arguments, *options], log, environment, prefix)
        started.append(one)
        if ready:
            one.wait_until(one.is_ready)
        return one

    try:
        yield start
    finally:
        for one in started:
            if one.process.poll() is None:
                one.process.kill()
            one.process.wait()


@pytest.fixture
def spawn(tmp_path, colour_store):
    """Start ``warpguard serve``, with a fault of faulty.py or none; it ends with the test."""
    with spawning(tmp_path, colour_store) as start:
        yield start


@pytest.fixture(scope="module")
def spawn_for_all(tmp_path_factory, colour_store):
    """The same for the tests of a module."""
    with spawning(tmp_path_factory.mktemp("logs"), colour_store) as start:
        yield start


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
