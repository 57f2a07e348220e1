"""An upstream whose answers a test chooses, and which keeps the requests that it gets."""

import json
import socket
import threading
from base64 import b64decode
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

DTYPES = {"UINT8": np.uint8, "FP32": np.dtype("<f4")}
LENGTH = "inference-header-content-length"


@dataclass
class Received:
    path: str
    headers: dict
    body: bytes

    @property
    def is_binary(self):
        return LENGTH in self.headers

    @property
    def document(self):
        return json.loads(self.body[: int(self.headers.get(LENGTH, len(self.body)))])

    @property
    def tensor(self):
        """The one input of a v2 request: an array, or the files of an input of BYTES."""
        (tensor,) = self.document["inputs"]
        raw = self.body[int(self.headers.get(LENGTH, len(self.body))) :]
        if tensor["datatype"] == "BYTES" and not self.is_binary:
            return [b64decode(text) for text in tensor["data"]]
        if tensor["datatype"] == "BYTES":
            files = []
            while raw:
                size = int.from_bytes(raw[:4], "little")
                files.append(raw[4 : 4 + size])
                raw = raw[4 + size :]
            return files
        dtype = DTYPES[tensor["datatype"]]
        if self.is_binary:
            assert tensor["parameters"] == {"binary_data_size": len(raw)}
            values = np.frombuffer(raw, dtype)
        else:
            values = np.array(tensor["data"], dtype)
        return values.reshape(tensor["shape"])


class Stub(ThreadingHTTPServer):
    """A server of both protocols.

    Attributes:
        received: the requests for inference.
        do: answers such a request: a function of the handler and the request.
        get: returns the status and the content for the path of a GET, or all bytes of an answer,
            or pieces of bytes.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, port=0, get=None):
        super().__init__(("127.0.0.1", port), _Handler)
        self.ready = 200
        self.extensions = ["binary_tensor_data"]
        self.inputs = [{"name": "pixels", "datatype": "UINT8", "shape": [-1, 32, 32, 3]}]
        self.received = []
        self.connections = set()
        self.get = get or self.usual
        self.do = lambda handler, _: handler.answer(200, {"outputs": []})
        self.host = f"127.0.0.1:{self.server_port}"
        self._thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)
        self._thread.start()

    def usual(self, path):
        if path.endswith("/ready") or path == "/v1/models/m":
            return self.ready, {"name": "m", "ready": self.ready == 200}
        if path == "/v2":
            return 200, {"name": "stub", "version": "1", "extensions": self.extensions}
        return 200, {"name": "m", "platform": "stub", "inputs": self.inputs, "outputs": []}

    def stop(self):
        """Close everything, including open connections."""
        self.shutdown()
        self._thread.join()
        self.server_close()
        for connection in tuple(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def setup(self):
        super().setup()
        self.server.connections.add(self.connection)

    def finish(self):
        self.server.connections.discard(self.connection)
        super().finish()

    def handle(self):
        try:
            super().handle()
        except (OSError, ValueError):  # the stub or the client has closed the connection
            self.close_connection = True

    def do_GET(self):
        answer = self.server.get(self.path)
        if isinstance(answer, tuple):
            self.answer(*answer)
        else:
            self.send(answer)

    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Received(self.path, headers, body)
        self.server.received.append(request)
        self.server.do(self, request)

    def send(self, answer):
        """Send the bytes of an answer, or pieces of it, whatever they mean."""
        for piece in [answer] if isinstance(answer, bytes) else answer:
            self.wfile.write(piece)

    def answer(self, status, content, **headers):
        body = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        for name, value in {"content_type": "application/json", **headers}.items():
            self.send_header(name.replace("_", "-"), value)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def make_stub():
    stubs = []

    def make(*arguments):
        stubs.append(Stub(*arguments))
        return stubs[-1]

    yield make
    for stub in stubs:
        stub.stop()


@pytest.fixture
def stub(make_stub):
    return make_stub()


@pytest.fixture
def front(start, stub):
    """Start warpguard in front of the stub, and return a client."""

    def begin(**options):
        return start(
            **{"predictor_host": stub.host, "model_name": "m", "defense": "none"} | options
        )

    return begin


@pytest.fixture
def binary():
    """Make the body and the headers of a request with a binary tensor."""

    def make(pixels=None, files=None, **fields):
        raw = pixels.tobytes() if files is None else b""
        tensor = (
            {"name": "image", "shape": [len(files)], "datatype": "BYTES"}
            if files
            else {
                "name": "image",
                "shape": list(pixels.shape),
                "datatype": "UINT8" if pixels.dtype == np.uint8 else "FP32",
            }
        )
        for file in files or ():
            raw += len(file).to_bytes(4, "little") + file
        tensor["parameters"] = {"binary_data_size": len(raw)}
        document = json.dumps({"inputs": [tensor], **fields}).encode()
        return {"content": document + raw, "headers": {LENGTH: str(len(document))}}

    return make
