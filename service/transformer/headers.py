"""The headers that are passed on to the upstream, and its answer that is passed back."""

import re

from fastapi import Request, Response
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.telemetry.logs import REQUEST_ID_HEADER
from service.transformer.answer import Reply

_ID = r"(?!0+\b)[0-9a-f]"
_HEX = r"[0-9A-Fa-f]"
_OF_TRACES = {
    "traceparent": rf"00-{_ID}{{32}}-{_ID}{{16}}-[0-9a-f]{{2}}",
    # Members NAME=VALUE; https://www.w3.org/TR/trace-context/#tracestate-header
    "tracestate": r"(?=.{1,512}$)[a-z0-9][a-z0-9_*/@-]{0,255}=[!-+\--<>-~ ]*"
    r"(?:[ \t]*,[ \t]*[a-z0-9][a-z0-9_*/@-]{0,255}=[!-+\--<>-~ ]*){0,31}",
    # https://github.com/openzipkin/b3-propagation
    "b3": rf"[01d]|(?:{_HEX}{{16}}|{_HEX}{{32}})-{_HEX}{{16}}(?:-[01d](?:-{_HEX}{{16}})?)?",
    "x-b3-traceid": rf"{_HEX}{{16}}|{_HEX}{{32}}",
    "x-b3-spanid": rf"{_HEX}{{16}}",
    "x-b3-parentspanid": rf"{_HEX}{{16}}",
    "x-b3-sampled": r"[01]|true|false",
    "x-b3-flags": r"[01]",
}
_VALID = {name: re.compile(pattern) for name, pattern in _OF_TRACES.items()}
_trace_context = TraceContextTextMapPropagator()


def passed_on(request: Request) -> dict[str, str]:
    """The headers for the upstream: the ids of the request and of its trace, if they are valid.

    A header that ``Connection`` names is for this server only, and is not passed on.
    """
    headers = {REQUEST_ID_HEADER: request.state.request_id}
    connection = ",".join(request.headers.getlist("connection")).lower().split(",")
    hop_by_hop = {name.strip() for name in connection}
    for name, valid in _VALID.items():
        values = request.headers.getlist(name)
        if name not in hop_by_hop and len(values) == 1 and valid.fullmatch(values[0]):
            headers[name] = values[0]
    if "traceparent" not in headers:
        headers.pop("tracestate", None)  # it belongs to a parent
    _trace_context.inject(headers)  # if traces are on, the parent is this server's span
    return headers


def passed_back(reply: Reply) -> Response:
    """The upstream's answer, unchanged."""
    return Response(reply.body, reply.status, reply.headers)
