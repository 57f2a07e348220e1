"""A case: what hostile clients send, and to what kind of server."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from benchmarks.hostile.requests import Send, at_once, form, held, message

AT_ONCE = 3
HELD_S = 8.0
ANY = "/v1/predict"
MODEL = "/v2/models/efficientnet-lite2/infer"


@dataclass(frozen=True)
class Case:
    """What hostile clients send.

    Attributes:
        make: builds the requests before anything is measured, and returns what sends them.
        options: of ``warpguard serve``.
        is_repeated: whether it is sent again until some seconds have passed.
        serves_honest: whether an honest client must be served meanwhile.
        has_keys: whether the server asks for API keys.
        upstream: what the classifier behind the server answers to hostile requests, piece by
            piece; None for a server that classifies itself.
    """

    make: Callable[[], Send]
    options: tuple[str, ...] = ()
    is_repeated: bool = True
    serves_honest: bool = True
    has_keys: bool = False
    upstream: Callable[[], Iterable[bytes]] | None = None


def requested(make: Callable[[], bytes], *options: str) -> Case:
    """Send one whole request."""

    def build() -> Send:
        request = (make(),)
        return lambda port: at_once(port, [request] * AT_ONCE)

    return Case(build, options)


def posted(body: Callable[[], bytes], path: str = ANY, *options: str) -> Case:
    return requested(lambda: message(path, body()), *options)


def posted_form(*contents: Callable[[], bytes]) -> Case:
    def make() -> bytes:
        content_type, body = form(*(content() for content in contents))
        return message(ANY, body, content_type)

    return requested(make)


def streamed(parts: Callable[[], Iterable[bytes]]) -> Case:
    """Send a request in parts, which are made while they are sent."""
    return Case(lambda: lambda port: at_once(port, [parts() for _ in range(AT_ONCE)]))


def kept(make: Callable[[], bytes], connections: int) -> Case:
    """Send a request over several connections, and read no answer."""

    def build() -> Send:
        requests = [make()] * connections
        return lambda port: held(port, requests, HELD_S)

    return Case(build, is_repeated=False)


def numbers(count: int, text: bytes = b"0,") -> bytes:
    start = b'{"inputs":[{"name":"i","datatype":"UINT8","shape":[1,8,8,3],"data":['
    return start + text * count + b"0]}]}"
