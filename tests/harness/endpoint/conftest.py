"""Endpoints that answer what a test wants: in this process, or over a socket byte by byte."""

import json
import socket
import threading

import httpx2
import numpy as np
import pytest

from harness.endpoint import HttpTarget, OipTarget

SHA256 = "ab" * 32
CLASSES = 4
MODEL = {
    "name": "m",
    "sha256": SHA256,
    "classes": CLASSES,
    "input": {"height_px": 8, "width_px": 8},
}
FD = {"step": 30, "corner_step": 25, "corner_size": 4, "phase": 0, "passes": 1}
DEFENSES = {
    "default": "fd",
    "defenses": [
        {"name": "fd", "operations": [{"name": "fd", "parameters": FD}]},
        {"name": "none", "operations": []},
    ],
}
FULL = ("probabilities", "logits", "agreement", "defended")
"""The outputs of a server that answers in full; the first one is the default."""


class Fake:
    """An endpoint in this process, whose answers may be changed between two requests."""

    def __init__(self):
        self.model = dict(MODEL)
        self.defenses = json.loads(json.dumps(DEFENSES))
        self.outputs = FULL
        self.targets = []
        self.server = {"name": "other", "extensions": ["binary_tensor_data"]}
        self.metadata = {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 8, 8, 3]}]}
        self.answer = lambda _: self.probabilities(0.1, 0.2, 0.3, 0.4)

    def __call__(self, request):
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"models": [self.model]})
        if request.url.path == "/v1/defenses":
            return httpx2.Response(200, json=self.defenses)
        if request.url.path == "/v2":
            return httpx2.Response(404 if self.server is None else 200, json=self.server)
        if request.method == "GET":
            outputs = [{"name": name} for name in self.outputs]
            return httpx2.Response(200, json={"name": "m", "outputs": outputs} | self.metadata)
        return self.answer(request)

    def target(self, url="http://endpoint/", **options):
        return self._connected(HttpTarget, url, options)

    def oip(self, url="http://endpoint/v2/models/m", **options):
        """The same endpoint as any server of the Open Inference Protocol."""
        return self._connected(OipTarget, url, options)

    def _connected(self, kind, url, options):
        target = kind(url, transport=httpx2.MockTransport(self), **options)
        self.targets.append(target)
        return target

    @staticmethod
    def binary(*outputs):
        """The answer with some outputs, each a name, a datatype, a shape and raw bytes."""
        head = {
            "outputs": [
                {
                    "name": name,
                    "datatype": datatype,
                    "shape": shape,
                    "parameters": {"binary_data_size": len(raw)},
                }
                for name, datatype, shape, raw in outputs
            ]
        }
        text = json.dumps(head).encode()
        length = {"Inference-Header-Content-Length": str(len(text))}
        raw = b"".join(raw for *_, raw in outputs)
        return httpx2.Response(200, content=text + raw, headers=length)

    @staticmethod
    def probabilities(*values):
        """The answer with these probabilities."""
        raw = np.array(values, np.float32).tobytes()
        return Fake.binary(("probabilities", "FP32", [1, len(values)], raw))


@pytest.fixture
def fake():
    fake = Fake()
    yield fake
    for target in fake.targets:
        target.close()


@pytest.fixture(params=["target", "oip"])
def either(request, fake):
    """The fake endpoint as warpguard, and as any server of the Open Inference Protocol."""
    return getattr(fake, request.param)()


@pytest.fixture
def wire():
    """Start a server that writes what a test wants to each connection; returns its address."""
    listening = []

    def start(write, reads=True):
        server = socket.create_server(("127.0.0.1", 0))
        listening.append(server)

        def serve():
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    try:
                        if reads:
                            connection.recv(65536)
                        write(connection)
                    except OSError:
                        pass  # the client has gone, as it should

        threading.Thread(target=serve, daemon=True).start()
        return f"http://127.0.0.1:{server.getsockname()[1]}"

    yield start
    for server in listening:
        server.shutdown(socket.SHUT_RDWR)
        server.close()
