"""Sending traces to an OpenTelemetry collector; imported only where ``--otel-endpoint`` is given.

Everything but the address is OpenTelemetry's own to configure, in the variables ``OTEL_…``.
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
    """Sends spans in batches, without what clients wrote into their queries."""

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        if span.attributes and "url.query" in span.attributes:
            span.set_attribute("url.query", "REDACTED")
        super().on_start(span, parent_context)


def start(endpoint: str) -> Callable[[], None]:
    """Record spans from now on, and send them.

    Args:
        endpoint: the collector's address, ``http://HOST:4318``.

    Returns:
        What sends the last spans, and ends within seconds even if nobody takes them.
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
