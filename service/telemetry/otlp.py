"""Sending traces to an OpenTelemetry collector; imported only where ``--otel-endpoint`` is given.

OpenTelemetry's own variables, ``OTEL_…``, configure everything but the address.
"""

import threading
from collections.abc import Callable

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Span, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from service import __version__

_LAST_SPANS_S = 5.0


class _Exporting(BatchSpanProcessor):
    """Sends spans in batches, without the queries that clients wrote."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")
        super().on_start(span, parent_context)


def start(endpoint: str) -> Callable[[], None]:
    """Record and send spans from now on.

    Args:
        endpoint: the collector's address, ``http://HOST:4318``.

    Returns:
        A function that sends the last spans; it ends within seconds even without a collector.
    """
    resource = Resource.create({"service.name": "warpguard", "service.version": __version__})
    provider = TracerProvider(
        resource=resource.merge(OTELResourceDetector().detect()), shutdown_on_exit=False
    )
    exporter = OTLPSpanExporter(f"{endpoint.rstrip('/')}/v1/traces")
    provider.add_span_processor(_Exporting(exporter))
    trace.set_tracer_provider(provider)

    def stop() -> None:
        sending = threading.Thread(target=provider.shutdown, daemon=True)
        sending.start()
        sending.join(_LAST_SPANS_S)

    return stop
