"""No client can see whether a signal is on, or has fired: not by an answer, and not by its time."""

import json
import re

import numpy as np
import pytest

from tests.service.conftest import free_port
from tests.service.signals.test_watch import picture, png

PREDICT = "/v1/predict"
INFER = "/v2/models/colours/infer"
SIGNALS = ("--alarm", "same-picture,squeeze", "--squeeze-share", "1")
BALL = [
    np.random.default_rng(seed).integers(-8, 9, (32, 32, 3)).astype(np.uint8) + picture(size=32)
    for seed in range(30)
]


def form(*files):
    parts = [
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
        + file
        + b"\r\n"
        for file in files
    ]
    return b"".join([*parts, b"--x--\r\n"])


def tensor(image):
    one = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3], "data": image.ravel().tolist()}
    outputs = [{"name": name} for name in ("probabilities", "logits", "agreement", "defended")]
    return json.dumps({"inputs": [one], "outputs": outputs}).encode()


FORM = ("Content-Type: multipart/form-data; boundary=x",)
WAYS = {
    "an image": ("POST", PREDICT, (), png(BALL[0])),
    "several draws": ("POST", f"{PREDICT}?draws=3&top_k=2", (), png(BALL[0])),
    "a form": ("POST", PREDICT, FORM, form(png(BALL[0]), b"junk")),
    "pixels": ("POST", INFER, (), tensor(BALL[0])),
    "a compressed answer": ("POST", INFER, ("Accept-Encoding: gzip",), tensor(BALL[0])),
    "an image to defend": ("POST", "/v1/defend", (), png(BALL[0])),
    "not an image": ("POST", PREDICT, (), b"junk"),
    "too many draws": ("POST", f"{PREDICT}?draws=99", (), png(BALL[0])),
    "an unknown path": ("POST", "/v1/nothing", (), b""),
    "the metrics": ("GET", "/metrics", (), b""),
    "the defences": ("GET", "/v1/defenses", (), b""),
    "the schema": ("GET", "/openapi.json", (), b""),
    "the options": ("OPTIONS", PREDICT, (), b""),
}


def begin(spawn, *options, fault="none"):
    server = spawn(*options, "--admin-port", str(free_port()), ready=False, fault=fault)
    server.wait_until(server.is_listening)
    server.wait_until(lambda: server.ask("/v2/health/ready").status == 200)
    return server


def ask(server, method, path, headers, body):
    """Send a request; return all bytes of its answer, without the date and the times."""
    head = [f"{method} {path} HTTP/1.1", "Host: x", "X-Request-Id: one", "Connection: close"]
    head += [*headers, f"Content-Length: {len(body)}"]
    with server.connect() as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    head, _, content = answer.partition(b"\r\n\r\n")
    (length,) = re.findall(rb"(?i)content-length: (\d+)", head) or [str(len(content)).encode()]
    assert int(length) == len(content)  # the digits of the times differ, and so does the length
    content, times = re.subn(rb'"timings_ms":\{[^}]*\}', b"TIMES", content)
    head = re.sub(rb"(?i)\r\ndate: [^\r]*", b"", head)
    return re.sub(rb"(?i)(content-length: )\d+", rb"\1N", head) if times else head, content


def transcript(server, has_fired=lambda: True):
    """The answers to the same requests, before an event and after it."""
    before = [ask(server, *way) for way in WAYS.values()]
    attack = [ask(server, "POST", PREDICT, (), png(image)) for image in BALL]
    server.wait_until(has_fired)
    return [*before, *attack, *(ask(server, *way) for way in WAYS.values())]


def test_each_byte_of_each_answer_is_the_same(spawn, tmp_path):
    """With signals off, on, and fired; the servers draw the same random numbers."""
    file = tmp_path / "events.jsonl"
    off = transcript(begin(spawn, "--log-level", "debug", fault="seeded"))
    options = (*SIGNALS, "--events-file", str(file))
    on = transcript(begin(spawn, *options, fault="seeded"), file.read_text)
    names = [*WAYS, *(f"version {number}" for number in range(len(BALL))), *WAYS]
    for name, one, other in zip(names, off, on, strict=True):
        assert one == other, name
    statuses = [head.split(b" ", 2)[1] for head, _ in on[: len(WAYS)]]
    assert statuses == b"200 200 200 200 200 200 415 422 404 404 200 200 405".split()


LOOKED_AT = [name for name in WAYS if name in list(WAYS)[:5]]
"""The ways whose images the signals look at."""


@pytest.mark.parametrize("way", LOOKED_AT)
def test_the_signals_begin_after_the_last_byte(spawn, way):
    """A server that hangs as soon as a signal sees an image has answered the request."""
    server = begin(spawn, *SIGNALS, fault="seeing-hangs")
    method, path, headers, body = WAYS[way]
    head = [f"{method} {path} HTTP/1.1", "Host: x", *headers, f"Content-Length: {len(body)}"]
    with server.connect() as connection:
        connection.sendall("\r\n".join(head).encode() + b"\r\n\r\n" + body)
        answer = b""
        while b"\r\n\r\n" not in answer:
            answer += connection.recv(65536)
        head, _, content = answer.partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200")
        length = int(re.search(rb"(?i)content-length: (\d+)", head)[1])
        while len(content) < length:
            piece = connection.recv(65536)
            assert piece
            content += piece
    server.wait_until(lambda: "faulty.py hangs" in server.log)
