"""Traces of real servers, as a collector gets them."""

import json
import signal
import subprocess
import sys
import threading
import time
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from PIL import Image

STAGES = ["queue", "decode", "defend", "preprocess", "queue", "infer"]
TRACE = "0af7651916cd43dd8448eb211c80319c"
CALLER = "b7ad6b7169203331"


class Collector(ThreadingHTTPServer):
    """Takes OTLP over HTTP; keeps (resource, span) by trace."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans = []
        self.address = f"http://127.0.0.1:{self.server_port}"

    def take(self, body):
        for group in ExportTraceServiceRequest.FromString(body).resource_spans:
            resource = attributes(group.resource)
            for scope in group.scope_spans:
                self.spans.extend((resource, span) for span in scope.spans)

    def trace(self, trace_id, at_least):
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            found = [each for each in self.spans if each[1].trace_id.hex() == trace_id]
            if len(found) >= at_least:
                break
            time.sleep(0.02)
        return found


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        self.server.take(self.rfile.read(int(self.headers["content-length"])))
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
def traced(serve, collector):
    return serve(
        "--otel-endpoint",
        collector.address,
        environment={"OTEL_BSP_SCHEDULE_DELAY": "50"},
    )


def photograph(size=(64, 64)):
    file = BytesIO()
    Image.new("RGB", size, "red").save(file, "PNG")
    return file.getvalue()


def post(port, path, body, trace_id=TRACE, **headers):
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    given = {"traceparent": f"00-{trace_id}-{CALLER}-01", **headers}
    connection.request("POST", path, body, given)
    answer = connection.getresponse()
    answer.read()
    connection.close()
    return answer.status


def by_name(found):
    return {span.name: span for _, span in found}


def _ended(span):
    return span.end_time_unix_nano


def test_a_request_is_a_span_with_its_stages_below(traced, collector):
    _, port = traced
    headers = {"X-Request-Id": "traced"}
    assert post(port, "/v1/predict?draws=2&top_k=3", photograph(), **headers) == 200
    found = collector.trace(TRACE, at_least=7)
    spans = by_name(found)
    below = sorted((span for _, span in found if span.name in STAGES), key=_ended)
    assert [span.name for span in below] == STAGES
    assert len(found) == 7
    request = spans["POST /v1/predict"]
    assert request.kind == Span.SPAN_KIND_SERVER
    assert request.parent_span_id.hex() == CALLER
    said = attributes(request)
    assert said["http.route"] == "/v1/predict"
    assert said["http.response.status_code"] == 200
    assert said["warpguard.request_id"] == "traced"
    before = request.start_time_unix_nano
    for span in below:
        assert span.parent_span_id == request.span_id
        assert before <= span.start_time_unix_nano + 2_000_000  # two clocks
        assert span.start_time_unix_nano <= span.end_time_unix_nano
        before = span.end_time_unix_nano
    assert before <= request.end_time_unix_nano + 2_000_000
    inferring = spans["infer"].end_time_unix_nano - spans["infer"].start_time_unix_nano
    assert 1e6 < inferring < 60e9
    resource, _ = found[0]
    assert resource["service.name"] == "warpguard"
    assert resource["service.version"]


def test_a_trace_says_where_it_failed_and_nothing_that_a_client_wrote(traced, collector):
    _, port = traced
    trace_id = "1" * 32
    path = "/v1/predict?defense=fd%2Brdg&password=QUERY-VALUE"
    assert post(port, path, photograph()[:60], trace_id) == 400
    found = collector.trace(trace_id, at_least=3)
    spans = by_name(found)
    assert sorted(spans) == ["POST /v1/predict", "decode", "queue"]
    assert spans["decode"].status.code == Status.STATUS_CODE_ERROR
    assert attributes(spans["decode"])["error.type"] == "BadImageError"
    assert attributes(spans["POST /v1/predict"])["http.response.status_code"] == 400
    assert not [span for span in spans.values() if b"QUERY-VALUE" in span.SerializeToString()]


def test_each_file_of_a_form_has_its_stages(traced, collector):
    _, port = traced
    trace_id = "2" * 32
    part = b'--x\r\nContent-Disposition: form-data; name="files"; filename="FILE-NAME"\r\n\r\n'
    form = b"\r\n".join([part + photograph(), part + photograph(), b"--x--\r\n"])
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    assert post(port, "/v1/predict", form, trace_id, **headers) == 200
    found = collector.trace(trace_id, at_least=13)
    (request,) = [span for _, span in found if span.kind == Span.SPAN_KIND_SERVER]
    below = [span for _, span in found if span is not request]
    assert sorted(span.name for span in below) == sorted(STAGES * 2)
    assert {span.parent_span_id for span in below} == {request.span_id}
    assert not [span for _, span in found if b"FILE-NAME" in span.SerializeToString()]


def test_a_caller_that_does_not_record_is_not_recorded(traced, collector):
    _, port = traced
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"traceparent": f"00-{'3' * 32}-{CALLER}-00"}
    connection.request("POST", "/v1/predict", photograph(), headers)
    assert connection.getresponse().status == 200
    connection.close()
    for path in ("/readyz", "/metrics"):
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        connection.request("GET", path, headers={"traceparent": f"00-{'4' * 32}-{CALLER}-01"})
        assert connection.getresponse().status == 200
        connection.close()
    assert post(port, "/v1/predict", photograph(), "5" * 32) == 200
    assert collector.trace("5" * 32, at_least=7)  # by now the others would be here
    assert not [span for _, span in collector.spans if span.trace_id.hex()[0] in "34"]


def test_the_log_names_the_trace_and_the_end_sends_the_last_spans(serve, collector):
    process, port = serve(
        "--otel-endpoint",
        collector.address + "/",
        environment={"OTEL_BSP_SCHEDULE_DELAY": "60000", "OTEL_SERVICE_NAME": "named"},
    )
    trace_id = "6" * 32
    assert post(port, "/v1/predict", photograph(), trace_id) == 200
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert process.returncode == 0
    found = collector.trace(trace_id, at_least=7)
    assert len(found) == 7
    assert found[0][0]["service.name"] == "named"
    entries = [json.loads(line) for line in log.splitlines()]
    assert [each["route"] for each in entries if each.get("trace_id") == trace_id] == [
        "/v1/predict"
    ]


def test_a_collector_that_is_away_changes_nothing(serve):
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "50"}
    process, port = serve("--otel-endpoint", "http://127.0.0.1:9", environment=environment)
    for _ in range(3):
        assert post(port, "/v1/predict", photograph()) == 200
    started = time.monotonic()
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    assert time.monotonic() - started < 15
    assert process.returncode == 0
    assert [json.loads(line) for line in log.splitlines()]


def run(code, *arguments):
    command = [sys.executable, "-c", code, "serve", "--port", "0", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_without_the_extra_it_is_one_clear_error():
    code = (
        "import sys; sys.modules['opentelemetry.sdk'] = None\n"
        "from service.cli.main import main; sys.exit(main())"
    )
    done = run(code, "--otel-endpoint", "http://127.0.0.1:4318")
    assert done.returncode == 1
    (entry,) = map(json.loads, done.stderr.splitlines())
    assert "--otel-endpoint" in entry["message"]
    assert "pip install 'warpguard[otel]'" in entry["message"]


@pytest.mark.parametrize("address", ["collector:4318", "ftp://collector", "http://"])
def test_an_address_that_is_none_is_refused(address):
    done = run("from service.cli.main import main; exit(main())", "--otel-endpoint", address)
    assert done.returncode == 2
    assert done.stderr.startswith("warpguard: --otel-endpoint: ")


def test_off_loads_none_of_it(serve):
    process, port = serve(environment={"PYTHONPROFILEIMPORTTIME": "1"})
    assert post(port, "/v1/predict", photograph()) == 200
    process.send_signal(signal.SIGTERM)
    _, log = process.communicate(timeout=30)
    loaded = {line.rpartition("|")[2].strip() for line in log.splitlines()}
    assert "opentelemetry.trace" in loaded  # FastAPI's own
    assert not [name for name in loaded if name.startswith("opentelemetry.sdk")]
    assert not [name for name in loaded if name.startswith("opentelemetry.exporter")]
