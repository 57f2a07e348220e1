"""Counts out of metrics: of the service's own, and of servers that cannot be measured."""

from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from prometheus_client import generate_latest

from harness.errors import EndpointError
from harness.signals import meter as module
from harness.signals.meter import Meter, Reading, parse
from service.telemetry.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics("0")


@pytest.fixture
def served(metrics):
    """The address of the metrics; with ``served.text`` another document is there."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = generate_latest(metrics.registry)
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_the_service_s_metrics_are_read(metrics):
    signals = metrics.signals
    for distance in (0.2, 1.0, 1.2):
        signals.squeezed(distance, is_far=distance > 1.1)
    signals.images.inc(5)
    signals.skip("identical")
    signals.flag("squeeze")
    signals.count_event("same-picture")
    found = parse(generate_latest(metrics.registry).decode())
    assert found == Reading(
        looks=9,
        squeezed=3,
        far=1,
        flagged={"same-picture": 0, "concentration": 0, "squeeze": 1},
        events={"same-picture": 1, "concentration": 0, "squeeze": 0},
        skipped={"blank": 0, "busy": 0, "identical": 1, "not-idle": 0},
    )
    assert found.since(found).looks == found.since(found).skipped["identical"] == 0


def test_a_post_is_waited_for(metrics, served):
    meter = Meter(served)
    metrics.signals.images.inc()
    metrics.signals.squeezed(1.3, is_far=True)
    first = meter.after_a_post()
    assert (first.looks, first.far, meter.squeezes) == (2, 1, True)
    metrics.signals.skip("identical")
    later = Thread(target=lambda: metrics.signals.squeezed(0.1, is_far=False))
    later.start()
    second = meter.after_a_post()
    later.join()
    assert (second.looks, second.far, second.skipped["identical"]) == (2, 0, 1)
    meter.close()


def test_without_squeeze_each_post_is_looked_at_once(metrics, served, monkeypatch):
    monkeypatch.setattr(module, "_SQUEEZED_WITHIN_S", 0.01)
    meter = Meter(served)
    for _ in range(2):
        metrics.signals.images.inc()
        assert meter.after_a_post().looks == 1
    assert meter.squeezes is False
    metrics.signals.images.inc(2)
    with pytest.raises(EndpointError, match=r"2 looks at one posted image.*nobody else posts"):
        meter.after_a_post()
    meter.close()


def test_a_server_without_signals_is_named(served, monkeypatch):
    monkeypatch.setattr(module, "_LOOKED_WITHIN_S", 0.01)
    monkeypatch.setattr(module, "_SQUEEZED_WITHIN_S", 0.01)
    meter = Meter(served)
    with pytest.raises(EndpointError, match="Start the server with --alarm"):
        meter.after_a_post()
    meter.close()


def test_an_address_without_metrics_is_named():
    with pytest.raises(EndpointError, match="cannot be reached"):
        Meter("http://127.0.0.1:1")


@pytest.mark.parametrize("text", ["warpguard_signal_images_total many\n", "{"])
def test_text_that_is_not_metrics(text):
    if text == "{":
        assert parse(text) == Reading()
    else:
        with pytest.raises(ValueError, match="many"):
            parse(text)
