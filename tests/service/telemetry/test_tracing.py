"""Traces of real servers, as a collector receives them."""

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from PIL import Image

from service.cli.main import main
from service.telemetry import otlp

STAGES = ["queue", "decode", "defend", "preprocess", "queue", "infer"]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"
TWO_CLOCKS_NS = 1_000_000_000
"""How far the clock of the request's span and that of its stages may be apart on a busy machine."""


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP; ``spans`` and ``logs`` are pairs of a resource and what it sent."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans, self.logs = [], []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def take(self, body):
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = attributes(group.resource)
            for scope in group.scope_spans:
                self.spans.extend((resource, span) for span in scope.spans)

    def take_logs(self, body):
        for group in ExportLogsServiceRequest.FromString(body).resource_logs:
            resource = attributes(group.resource)
            for scope in group.scope_logs:
                self.logs.extend((resource, record) for record in scope.log_records)

    def trace(self, trace_id, at_least):
        give_up = time.monotonic() + 60
        while time.monotonic() < give_up:
            found = [each for each in self.spans if each[1].trace_id.hex() == trace_id]
            if len(found) >= at_least:
                break
            time.sleep(0.02)
        return found


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        take = {"/v1/traces": self.server.take, "/v1/logs": self.server.take_logs}[self.path]
        assert self.headers["content-type"] == "application/x-protobuf"
        take(self.rfile.read(int(self.headers["content-length"])))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def attributes(owner):
    values = {}
    for each in owner.attributes:
        kind = each.value.WhichOneof("value")
        values[each.key] = getattr(each.value, kind)
    return values


@pytest.fixture(scope="module")
def collector():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(scope="module")
def traced(spawn_for_all, collector):
    """A server that sends its traces to the collector, and whose model takes some time."""
    options = ("--otel-endpoint", collector.address)
    return spawn_for_all(*options, fault="slow", SLOW_S="0.02", OTEL_BSP_SCHEDULE_DELAY="50")


def photograph(size=(64, 64)):
    file = BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def post(server, path, body, trace_id=TRACE, **headers):
    given = {"traceparent": f"00-{trace_id}-{CALLER}-01", **headers}
    return server.ask(path, body, given).status


def by_name(found):
    return {span.name: span for _, span in found}


def _ended(span):
    return span.end_time_unix_nano


def test_a_request_is_a_span_with_its_stages_below(traced, collector):
    headers = {"X-Request-Id": "traced"}
    assert post(traced, "/v1/predict?draws=2&top_k=3", photograph(), **headers) == 200
    found = collector.trace(TRACE, at_least=7)
    spans = by_name(found)
    below = sorted((span for _, span in found if span.name in STAGES), key=_ended)
    assert [span.name for span in below] == STAGES
    assert len(found) == 7
    request = spans["POST /v1/predict"]
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.parent_span_id.hex() == CALLER
    described = attributes(request)
    assert described["http.route"] == "/v1/predict"
    assert described["http.response.status_code"] == 200
    assert described["warpguard.request_id"] == "traced"
    before = request.start_time_unix_nano - TWO_CLOCKS_NS
    for span in below:
        assert span.parent_span_id == request.span_id
        assert before <= span.start_time_unix_nano <= span.end_time_unix_nano
        before = span.end_time_unix_nano
    assert before <= request.end_time_unix_nano + TWO_CLOCKS_NS
    inferring = spans["infer"].end_time_unix_nano - spans["infer"].start_time_unix_nano
    assert inferring > 19_000_000  # the model takes 20 ms
    resource, _ = found[0]
    assert resource["service.name"] == "warpguard"
    assert resource["service.version"]


def test_a_trace_names_the_failed_stage_and_nothing_that_a_client_wrote(traced, collector):
    trace_id = "1" * 32
    path = "/v1/predict?defense=fd%2Brdg&timeout_ms=54321.25"
    assert post(traced, path, photograph()[:60], trace_id) == 400
    found = collector.trace(trace_id, at_least=3)
    spans = by_name(found)
    assert sorted(spans) == ["POST /v1/predict", "decode", "queue"]
    assert spans["decode"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["decode"])["error.type"] == "BadImageError"
    assert attributes(spans["POST /v1/predict"])["http.response.status_code"] == 400
    assert not [span for span in spans.values() if b"54321.25" in span.SerializeToString()]


def test_each_file_of_a_form_has_its_stages(traced, collector):
    trace_id = "2" * 32
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="FILE-NAME"\r\n\r\n'
    form = b"\r\n".join([part + photograph(), part + photograph(), b"--x--\r\n"])
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(traced, "/v1/predict", form, trace_id, **headers) == 200
    found = collector.trace(trace_id, at_least=13)
    (request,) = [span for _, span in found if span.kind == Span.SPAN_KIND_SERVER]
    below = [span for _, span in found if span is not request]
    assert sorted(span.name for span in below) == sorted(STAGES * 2)
    assert {span.parent_span_id for span in below} == {request.span_id}
    assert not [span for _, span in found if b"FILE-NAME" in span.SerializeToString()]


def test_callers_that_do_not_record_and_probes_have_no_trace(traced, collector):
    headers = {"traceparent": f"00-{'3' * 32}-{CALLER}-00"}
    assert traced.ask("/v1/predict", photograph(), headers).status == 200
    for path in ("/readyz", "/metrics"):
        headers = {"traceparent": f"00-{'4' * 32}-{CALLER}-01"}
        assert traced.ask(path, headers=headers).status == 200
    assert post(traced, "/v1/predict", photograph(), "5" * 32) == 200
    assert collector.trace("5" * 32, at_least=7)  # by now the others would be here
    assert not [span for _, span in collector.spans if span.trace_id.hex()[0] in "34"]


def test_the_log_names_the_trace_and_the_end_sends_the_last_spans(spawn, collector):
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "named"}
    server = spawn("--otel-endpoint", collector.address + "/", **environment)
    trace_id = "6" * 32
    assert post(server, "/v1/predict", photograph(), trace_id) == 200
    server.signal()
    assert server.exit_code() == 0
    found = collector.trace(trace_id, at_least=7)
    assert len(found) == 7
    assert found[0][0]["service.name"] == "named"
    entries = [json.loads(line) for line in server.log.splitlines()]
    assert [each["route"] for each in entries if each.get("trace_id") == trace_id] == [
        "/v1/predict"
    ]


def test_a_collector_that_is_away_changes_nothing(spawn):
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    server = spawn("--otel-endpoint", "http://127.0.0.1:9", **environment)
    for _ in range(3):
        assert post(server, "/v1/predict", photograph()) == 200
    server.signal()
    assert server.exit_code() == 0
    assert [json.loads(line) for line in server.log.splitlines()]


def test_the_end_does_not_wait_for_a_collector_that_never_answers(monkeypatch):
    hangs = threading.Event()
    monkeypatch.setattr(otlp.TracerProvider, "shutdown", lambda _: hangs.wait())
    monkeypatch.setattr(otlp.LoggerProvider, "shutdown", lambda _: hangs.wait())
    monkeypatch.setattr(otlp.trace, "set_tracer_provider", lambda _: None)
    otlp.start("http://127.0.0.1:9").stop()  # this would never return
    hangs.set()


def test_without_the_extra_it_is_one_clear_error():
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from service.cli.main import main; sys.exit(main())"
    )
    options = ["serve", "--port", "0", "--otel-endpoint", "http://127.0.0.1:4318"]
    done = subprocess.run(
        [sys.executable, "-c", code, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    (entry,) = map(json.loads, done.stderr.splitlines())
    assert "--otel-endpoint" in entry["message"]
    assert "pip install 'warpguard[otel]'" in entry["message"]


@pytest.mark.parametrize("address", ["collector:4318", "ftp://collector", "http://"])
def test_an_address_that_is_not_valid_is_refused(address, capsys):
    assert main(["serve", "--otel-endpoint", address]) == 2
    assert capsys.readouterr().err.startswith("warpguard: --otel-endpoint: ")


def test_a_server_without_traces_loads_no_exporter(spawn):
    server = spawn(PYTHONPROFILEIMPORTTIME="1")
    assert post(server, "/v1/predict", photograph()) == 200
    server.signal()
    assert server.exit_code() == 0
    loaded = {line.rpartition("|")[2].strip() for line in server.log.splitlines()}
    assert "opentelemetry.trace" in loaded  # FastAPI's own
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]
    assert not [name for name in loaded if name.startswith("opentelemetry.exporter")]
