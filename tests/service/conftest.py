"""A classifier whose logits are ten times the mean colour of a 32 x 32 image, and servers of it."""

import http.client
import os
import shutil
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

LIMIT_S = 600
"""How long a test waits for a server; a wait ends as soon as its condition holds."""
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
    """Return the classifier when called; a test may wrap its ``run``."""
    return lambda: Classifier(colour_manifest(), colour_graph(), device="cpu", threads=1)


@pytest.fixture
def start(load_colours):
    """Start an application with some settings, and return a client once it is ready."""
    clients = []

    def started(load=load_colours, wait=True, **options) -> TestClient:
        given = {
            "allow_defense": "none fd rand",
            "max_batch": 4,
            "deadline_ms": 1e3 * LIMIT_S,
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
    """A store of that model alone, with which a server starts quickly."""
    root = tmp_path_factory.mktemp("colours")
    Store(root).put(colour_manifest(), colour_graph())
    return root


class Process:
    """A server in a process of its own, whose log is in a file: a full pipe would stop it.

    The time limits are far above what a busy machine needs; each wait ends with its condition.
    """

    def __init__(self, command, log, environment):
        self.port = int(command[command.index("--port") + 1])
        self._log = log
        with log.open("w") as file:
            self.process = subprocess.Popen(command, env=os.environ | environment, stderr=file)

    @property
    def log(self):
        return self._log.read_text("utf-8")

    @property
    def proc(self):
        return Path("/proc") / str(self.process.pid)

    def connect(self, port=None):
        connection = socket.create_connection(("127.0.0.1", port or self.port), timeout=LIMIT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return connection

    def ask(self, path, body=None, headers=None, port=None):
        """Send one request on a connection of its own; return the answer with its ``content``."""
        connection = http.client.HTTPConnection("127.0.0.1", port or self.port, timeout=LIMIT_S)
        try:
            method = "GET" if body is None else "POST"
            connection.request(method, path, body, headers or {})
            answer = connection.getresponse()
            answer.content = answer.read()
            return answer
        finally:
            connection.close()

    def metric(self, name):
        """The value of a series, whose name includes its labels; 0 if it does not exist."""
        for line in self.ask("/metrics").content.decode().splitlines():
            if line.startswith(f"{name} "):
                return float(line.rpartition(" ")[2])
        return 0.0

    def wait_until(self, condition):
        give_up = time.monotonic() + LIMIT_S
        while not condition():
            assert time.monotonic() < give_up, self.log[-3000:]
            time.sleep(0.01)

    def is_listening(self):
        try:
            self.connect().close()
        except OSError:
            return False
        return True

    def is_ready(self):
        assert self.process.poll() is None, self.log
        try:
            return self.ask("/readyz").status == 200
        except OSError:
            return False

    def signal(self, number=signal.SIGTERM):
        self.process.send_signal(number)

    def exit_code(self):
        try:
            return self.process.wait(LIMIT_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            pytest.fail(f"The server has not ended within {LIMIT_S} s.\n{self.log}")


@contextmanager
def spawning(folder, store):
    started = []

    def start(*options, fault="none", ready=True, prefix=(), **environment):
        faulty = Path(__file__).with_name("faulty.py")
        command = [*prefix, sys.executable, str(faulty), fault, "serve", "--port", str(free_port())]
        if "--store" not in options:
            command += ["--store", str(store), "--model", "colours"]
        command += ["--deadline-ms", str(1000 * LIMIT_S)]
        log = folder / f"server-{len(started)}.log"
        one = Process([*command, *options], log, environment)
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
    """Start ``warpguard serve``, which ends with the test; ``fault`` is one of faulty.py."""
    with spawning(tmp_path, colour_store) as start:
        yield start


@pytest.fixture(scope="module")
def spawn_for_all(tmp_path_factory, colour_store):
    """Start ``warpguard serve``, which ends with the module's tests."""
    with spawning(tmp_path_factory.mktemp("logs"), colour_store) as start:
        yield start


@pytest.fixture(scope="session")
def without_rights():
    """The beginning of a command that runs without root's rights, even if root runs the tests."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("setpriv is not installed, and the tests run as root")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
