"""What of a request is passed on, and what of an answer is passed back."""

from fastapi import Request, Response
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.middleware.request_log import REQUEST_ID_HEADER
from service.transformer.upstream import Reply

_OF_TRACES = (
    "traceparent",
    "tracestate",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
)
_trace_context = TraceContextTextMapPropagator()


def passed_on(request: Request) -> dict[str, str]:
    """The headers that go to the upstream: the ids of the request and of its trace, no secrets."""
    headers = {REQUEST_ID_HEADER: request.state.request_id}
    for name in _OF_TRACES:
        value = request.headers.get(name, "")
        if value and value.isascii() and value.isprintable():  # not all that is taken may be sent
            headers[name] = value
    _trace_context.inject(headers)  # where traces are on, the parent is this server's span
    return headers


def passed_back(reply: Reply) -> Response:
    """The upstream's answer as it is."""
    return Response(reply.body, reply.status, reply.headers)
