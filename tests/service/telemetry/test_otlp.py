"""The events of the signals, as a collector receives them."""

import json
import logging
import socket
import threading

import jsonschema
import pytest

from service.telemetry import otlp
from tests.service.conftest import free_port
from tests.service.signals.test_event import SCHEMA, event
from tests.service.signals.test_watch import in_ball, picture, png
from tests.service.telemetry.test_tracing import Collector

SIGNALS = ("--alarm", "same-picture", "--log-level", "error")


@pytest.fixture
def collector():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def attacked(spawn, events_file, *options, **environment):
    """A server of whose pictures the 21st has just raised an event."""
    options = [*SIGNALS, "--admin-port", str(free_port()), *options]
    server = spawn(*options, "--events-file", str(events_file), ready=False, **environment)
    server.wait_until(server.is_listening)
    server.wait_until(lambda: server.ask("/v2/health/ready").status == 200)
    for _ in range(21):
        assert server.ask("/v1/predict", png(in_ball(picture(size=32)))).status == 200
    server.wait_until(events_file.read_text)
    return server


def plain(value):
    """A value of OTLP as Python's own."""
    kind = value.WhichOneof("value")
    if kind == "kvlist_value":
        return {each.key: plain(each.value) for each in value.kvlist_value.values}
    if kind == "array_value":
        return [plain(each) for each in value.array_value.values]
    return getattr(value, kind)


def test_an_event_reaches_the_collector_before_the_server_ends(spawn, collector, tmp_path):
    """Whatever the log's level is, and although the next batch is due in ten minutes."""
    file = tmp_path / "events.jsonl"
    delays = {"OTEL_BLRP_SCHEDULE_DELAY": "600000", "OTEL_SERVICE_NAME": "named"}
    server = attacked(spawn, file, "--otel-endpoint", collector.address, **delays)
    server.signal()
    assert server.exit_code() == 0
    ((resource, record),) = collector.logs
    assert plain(record.body) == json.loads(file.read_text("utf-8"))
    jsonschema.validate(plain(record.body), SCHEMA)
    assert record.event_name == "warpguard.detection_finding"
    assert (record.severity_number, record.severity_text) == (13, "WARN")
    assert record.time_unix_nano == 1_000_000 * plain(record.body)["time"]
    assert resource["service.name"] == "named"
    assert server.log == ""


def test_events_do_not_wait_for_a_collector_that_is_away(spawn, tmp_path):
    file = tmp_path / "events.jsonl"
    away = {"OTEL_BLRP_SCHEDULE_DELAY": "50", "OTEL_EXPORTER_OTLP_TIMEOUT": "1"}
    server = attacked(spawn, file, "--otel-endpoint", "http://127.0.0.1:9", **away)
    assert server.ask("/v1/predict", png(picture(size=32))).status == 200
    server.signal()
    assert server.exit_code() == 0
    assert json.loads(file.read_text("utf-8"))["count"] == 20


def test_a_queue_that_is_full_loses_events_and_waits_for_nothing(monkeypatch, caplog):
    monkeypatch.setattr(otlp.trace, "set_tracer_provider", lambda _: None)
    monkeypatch.setattr(otlp, "_LAST_S", 0.0)
    monkeypatch.setenv("OTEL_BLRP_MAX_QUEUE_SIZE", "600")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.WARNING):
        sending = otlp.start(f"http://127.0.0.1:{silent.getsockname()[1]}")
        for _ in range(2000):  # one batch of 512 is on its way, and 600 wait
            sending.event(event())
        sending.stop()
    assert "Queue full" in caplog.text
