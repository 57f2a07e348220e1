"""The headers that are passed on to the upstream, and its answer that is passed back."""

from fastapi import Request, Response
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.logs import REQUEST_ID_HEADER
from service.transformer.upstream import Reply

_B3 = ("traceid", "spanid", "parentspanid", "sampled", "flags")
_OF_TRACES = ("traceparent", "tracestate", "b3", *(f"x-b3-{part}" for part in _B3))
_trace_context = TraceContextTextMapPropagator()


def passed_on(request: Request) -> dict[str, str]:
    """The headers for the upstream: the ids of the request and of its trace, and no secrets."""
    headers = {REQUEST_ID_HEADER: request.state.request_id}
    for name in _OF_TRACES:
        value = request.headers.get(name, "")
        if value and value.isascii() and value.isprintable():  # a header may be received with more
            headers[name] = value
    _trace_context.inject(headers)  # if traces are on, the parent is this server's span
    return headers


def passed_back(reply: Reply) -> Response:
    """The upstream's answer, unchanged."""
    return Response(reply.body, reply.status, reply.headers)
