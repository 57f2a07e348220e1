"""Sending to an OpenTelemetry collector; imported only where ``--otel-endpoint`` is given.

OpenTelemetry's own variables, ``OTEL_…``, configure everything but the address.
"""

import threading
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from opentelemetry import trace
from opentelemetry._logs import SeverityNumber
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__
from service.signals.names import OnEvent

EVENT = "warpguard.detection_finding"
"""The name of a log record that is an event of the signals; its body is the finding."""
_LAST_S = 5.0
_NS_OF_MS = 1_000_000


class _Exporting(BatchSpanProcessor):
    """Sends spans in batches, without the queries that clients wrote."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")
        super().on_start(span, parent_context)


class Sending(NamedTuple):
    """What is sent to a collector from now on.

    Attributes:
        event: sends an event of the signals, later and in a thread of its own.
        stop: sends the last spans and events; it ends within seconds even without a collector.
    """

    event: OnEvent
    stop: Callable[[], None]


def start(endpoint: str) -> Sending:
    """Record spans from now on, and send them and the events of the signals.

    Both wait in queues of at most 2,048; if a queue is full, its oldest entry is lost.

    Args:
        endpoint: the collector's address, ``http://HOST:4318``.
    """
    address = endpoint.rstrip("/")
    resource = Resource.create({"service.name": "warpguard", "service.version": __version__})
    resource = resource.merge(OTELResourceDetector().detect())
    tracing = TracerProvider(resource=resource, shutdown_on_exit=False)
    tracing.add_span_processor(_Exporting(OTLPSpanExporter(f"{address}/v1/traces")))
    trace.set_tracer_provider(tracing)
    logging = LoggerProvider(resource=resource, shutdown_on_exit=False)
    exporter = OTLPLogExporter(f"{address}/v1/logs")
    logging.add_log_record_processor(BatchLogRecordProcessor(exporter))
    logger = logging.get_logger("warpguard", __version__)

    def send(event: dict[str, Any]) -> None:
        logger.emit(
            timestamp=_NS_OF_MS * event["time"],
            severity_number=SeverityNumber.WARN,
            severity_text="WARN",
            event_name=EVENT,
            body=event,
        )

    def stop() -> None:
        last = [threading.Thread(target=each.shutdown, daemon=True) for each in (tracing, logging)]
        for each in last:
            each.start()
        give_up = time.monotonic() + _LAST_S
        for each in last:
            each.join(max(0.0, give_up - time.monotonic()))

    return Sending(send, stop)
