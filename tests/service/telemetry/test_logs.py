"""The log of real servers: one JSON object a line, or text, and no text that a client wrote."""

import json
import logging
import os
import pty
import re
import socket
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from PIL import Image

from service.auth.key_file import new as new_key
from service.telemetry import logs
from service.telemetry.logs import JsonFormatter, TextFormatter

STARTED = datetime.now(UTC)
FORGED = '{"level": "critical", "message": "forged"}'


def send(port, *lines, body=b""):
    """Send a request that no client library would send; return the whole answer."""
    head = [*lines, "Host: x", "Connection: close", f"Content-Length: {len(body)}"]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        connection.sendall("\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body)
        answer = b""
        while piece := connection.recv(65536):
            answer += piece
    return answer.decode("latin-1")


def photograph(folder):
    file = folder / "photo.png"
    Image.new("RGB", (64, 64), "red").save(file)
    return file.read_bytes()


def visit(port, body):
    """Send valid requests, bad ones, and attempts to write into the log."""
    send(port, "POST /v1/predict HTTP/1.1", "X-Request-Id: the-valid-one", body=body)
    send(port, "POST /v1/predict?defense=QUERY-VALUE HTTP/1.1", "X-Request-Id: refused", body=body)
    form = (
        b'--x\r\nContent-Disposition: form-data; name="files"; filename="FILE-NAME"\r\n\r\n'
        + body
        + b"\r\n--x--\r\n"
    )
    content_type = "Content-Type: multipart/form-data; boundary=x"
    send(port, "POST /v1/predict?draws=2 HTTP/1.1", content_type, body=form)
    send(port, "POST /v1/predict?timeout_ms=1 HTTP/1.1", "X-Request-Id: late", body=body)
    send(port, "GET /healthz HTTP/1.1", "X-Request-Id: probe")
    for injection in (f"\n{FORGED}", f"\r{FORGED}", f"\x85{FORGED}", f" \n\t{FORGED}", "%0A"):
        send(port, "POST /v1/predict HTTP/1.1", f"X-Request-Id: a{injection}", body=body)
        send(port, f"POST /v1/predict{injection} HTTP/1.1", body=body)
        send(port, "POST /v1/predict HTTP/1.1", f"User-Agent: a{injection}", body=body)
    send(port, f"POST /%0A{FORGED.replace(' ', '')} HTTP/1.1", body=body)
    send(port, "GET / HTTP/9.9\x00")


@pytest.fixture(scope="module")
def visited(spawn_for_all, tmp_path_factory):
    """The log at the level debug of a server that was visited and stopped, by its format."""
    body = photograph(tmp_path_factory.mktemp("photographs"))
    written = {}
    for log_format in ("json", "text"):
        options = ("--log-format", log_format, "--log-level", "debug")
        server = spawn_for_all(*options, fault="slow", SLOW_S="0.05")
        visit(server.port, body)
        server.signal()
        assert server.exit_code() == 0
        written[log_format] = server.log
    return written


def test_every_line_is_a_json_object(visited):
    lines = visited["json"].splitlines()
    entries = [json.loads(line) for line in lines]
    assert len(entries) > 15
    for entry in entries:
        assert {"time", "level", "logger", "message"} <= set(entry)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", entry["time"])
    times = [datetime.fromisoformat(entry["time"]) for entry in entries]
    assert STARTED < min(times) <= max(times) < datetime.now(UTC)
    loggers = {entry["logger"] for entry in entries}
    assert {"uvicorn", "service.backend", "service.access", "models.session"} <= loggers


def test_a_request_is_found_by_its_id(visited):
    entries = [json.loads(line) for line in visited["json"].splitlines()]
    by_id = {entry["request_id"]: entry for entry in entries if "request_id" in entry}
    good = by_id["the-valid-one"]
    assert (good["method"], good["route"], good["status"]) == ("POST", "/v1/predict", 200)
    assert good["duration_ms"] >= 50  # the model takes as long
    assert good["level"] == "info"
    assert (by_id["refused"]["level"], by_id["refused"]["status"]) == ("info", 422)
    assert by_id["refused"]["error"] == "unknown_defense"
    assert (by_id["late"]["level"], by_id["late"]["error"]) == ("warning", "deadline_exceeded")
    assert (by_id["probe"]["level"], by_id["probe"]["route"]) == ("debug", "/healthz")


def test_the_line_of_a_request_has_its_id_in_text_too(visited):
    (line,) = [line for line in visited["text"].splitlines() if "[the-valid-one]" in line]
    assert re.match(r"\S+ \S+ INFO service\.access: POST /v1/predict 200 in [\d.]+ ms", line)


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_nothing_that_a_client_wrote_is_in_the_log(visited, log_format):
    for written in ("forged", "QUERY-VALUE", "FILE-NAME", "User-Agent", "%0A"):
        assert written not in visited[log_format]


def test_every_line_of_text_is_the_server_s_own(visited):
    for line in visited["text"].splitlines():
        assert re.match(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} [A-Z]+ [\w.]+: ", line), line


def test_the_error_that_ends_a_server_is_a_line_too(spawn):
    server = spawn("--log-format", "json", "--model", "nonsense", ready=False)
    assert server.exit_code() == 1
    (entry,) = map(json.loads, server.log.splitlines())
    assert entry["level"] == "critical"
    assert "nonsense" in entry["message"]


def test_the_documented_line_is_real(spawn, tmp_path):
    page = (Path(__file__).parents[3] / "docs" / "operations.md").read_text("utf-8")
    shown = json.loads(re.search(r'^\{"time".*"service.access".*$', page, re.MULTILINE)[0])
    key, line = new_key("shop")
    (tmp_path / "keys.txt").write_text(f"{line}\n")
    server = spawn("--api-keys", str(tmp_path / "keys.txt"))
    headers = {"Authorization": f"Bearer {key}"}
    assert server.ask(f"/v1/predict?draws={shown['draws']}", photograph(tmp_path), headers)
    server.signal()
    assert server.exit_code() == 0
    entries = [json.loads(line) for line in server.log.splitlines()]
    (real,) = [each for each in entries if each["logger"] == "service.access"]
    assert list(real) == list(shown)
    fixed = ("level", "logger", "method", "route", "status", "images", "draws", "key")
    assert [real[name] for name in fixed] == [shown[name] for name in fixed]


def record(message, *arguments, **more):
    made = logging.LogRecord("a.b", logging.ERROR, "file", 1, message, arguments, None)
    vars(made).update(more)
    return made


LINE_ENDS = "\n\r\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029\x1b[2J"


def test_a_message_stays_on_its_line():
    assert len(TextFormatter().format(record("a%sb", LINE_ENDS)).splitlines()) == 1
    line = JsonFormatter().format(record("a%sb", LINE_ENDS))
    assert len(line.splitlines()) == 1
    assert json.loads(line)["message"] == f"a{LINE_ENDS}b"


def test_an_exception_is_a_field():
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        line = JsonFormatter().format(record("failed", exc_info=sys.exc_info()))
    entry = json.loads(line)
    assert entry["message"] == "failed"
    assert entry["exception"].startswith("Traceback")
    assert entry["exception"].endswith("ValueError: first\nsecond")
    assert "\n" not in line


def test_a_value_that_json_does_not_have_is_written_as_text():
    extra = logs.fields({"where": object, "message": "the message stays"})
    entry = json.loads(JsonFormatter().format(record("an event", **extra)))
    assert entry["where"] == str(object)
    assert entry["message"] == "an event"


CONFIGURED = """
import logging, sys, warnings
from service.telemetry import logs
logs.configure({!r}, "info")
warnings.warn("a warning")
logging.getLogger("PIL").debug("a chunk")
raise RuntimeError("the end")
"""


def configured(log_format, **options):
    code = CONFIGURED.format(log_format)
    return subprocess.run(
        [sys.executable, "-c", code], text=True, check=False, timeout=120, **options
    )


def test_warnings_and_uncaught_exceptions_are_lines_too():
    done = configured("auto", capture_output=True)
    warned, died = map(json.loads, done.stderr.splitlines())
    assert (warned["logger"], warned["level"]) == ("py.warnings", "warning")
    assert "a warning" in warned["message"]
    assert died["level"] == "critical"
    assert died["exception"].endswith("RuntimeError: the end")


def test_a_terminal_gets_text():
    ours, theirs = pty.openpty()
    try:
        configured("auto", stderr=theirs)
        shown = os.read(ours, 65536).decode()
    finally:
        os.close(ours)
        os.close(theirs)
    assert " WARNING py.warnings: " in shown
    assert "{" not in shown
