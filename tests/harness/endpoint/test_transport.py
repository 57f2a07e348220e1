"""Answers that are too large, too slow, compressed or cut short, over real sockets."""

import gzip
import resource
import ssl
import time
from contextlib import suppress

import httpx2
import numpy as np
import pytest
import trustme

from harness.endpoint import HttpTarget
from harness.endpoint import transport as module
from harness.errors import EndpointError

IMAGE = np.zeros((8, 8, 3), np.uint8)
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


def body(content, *more):
    return b"\r\n".join([HEAD + b"Content-Length: %d" % len(content), *more, b"", content])


def endless(connection):
    connection.sendall(HEAD + b"Connection: close\r\n\r\n")
    while True:
        connection.sendall(b" " * 65536)


def test_an_endless_answer_is_refused(wire):
    with pytest.raises(EndpointError, match=r"/v1/models sent more than 1 MiB"):
        HttpTarget(wire(endless))


def test_an_endless_error_is_refused(wire):
    def write(connection):
        connection.sendall(b"HTTP/1.1 500 No\r\nConnection: close\r\n\r\n")
        while True:
            connection.sendall(b" " * 65536)

    with pytest.raises(EndpointError, match="sent more than 1 MiB"):
        HttpTarget(wire(write))


def test_a_compressed_answer_is_refused_before_it_fills_the_memory(wire):
    bomb = gzip.compress(bytes(300 << 20))
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    address = wire(lambda connection: connection.sendall(body(bomb, b"Content-Encoding: gzip")))
    with pytest.raises(EndpointError, match=r"compressed \(gzip\), which was not asked for"):
        HttpTarget(address)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb < 50 << 10


@pytest.mark.parametrize("start", [b"", HEAD, HEAD + b"Connection: close\r\n\r\n"])
def test_an_answer_that_drips_is_given_up(wire, start, monkeypatch):
    """The limit holds before the headers, within them, and within the body."""
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.5)

    def drip(connection):
        connection.sendall(start)
        while True:
            connection.sendall(b"a")
            time.sleep(0.05)

    with pytest.raises(EndpointError, match=r"did not send a whole answer within 0\.5 s"):
        HttpTarget(wire(drip))


def test_a_silent_server_is_given_up(wire, monkeypatch):
    monkeypatch.setattr(module, "ANSWER_WITHIN_S", 0.5)
    with pytest.raises(EndpointError, match="did not send a whole answer"):
        HttpTarget(wire(lambda connection: connection.recv(1)))


@pytest.mark.parametrize(
    "answer", [b"", b"garbage\r\n\r\n", HEAD, body(b"{}")[:-1], b"HTTP/1.1 200 OK\r\n\xff: \r\n"]
)
def test_an_answer_that_is_not_http_is_reported(wire, answer):
    with pytest.raises(EndpointError, match="cannot be reached"):
        HttpTarget(wire(lambda connection: connection.sendall(answer)))


def test_an_error_is_reported_without_what_controls_a_terminal(wire):
    text = b"\x1b[2J\x1b]0;owned\x07no\nkey \xff" + "\u202e".encode()
    answer = b"HTTP/1.1 401 No\r\nContent-Length: %d\r\n\r\n%b" % (len(text), text)
    with pytest.raises(EndpointError, match=r"answered 401: .*no key.* --api-key, ") as raised:
        HttpTarget(wire(lambda connection: connection.sendall(answer)))
    assert str(raised.value).isprintable()


def test_a_redirection_is_not_followed(wire):
    answer = b"HTTP/1.1 307 T\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n"
    with pytest.raises(EndpointError, match="answered 307"):
        HttpTarget(wire(lambda connection: connection.sendall(answer)))


def test_an_endpoint_that_cannot_be_reached_is_named():
    with pytest.raises(EndpointError, match=r"http://127.0.0.1:9 cannot be reached"):
        HttpTarget("http://127.0.0.1:9")


@pytest.mark.parametrize("url", ["http://[::1", "http://a b", "http://x:99999999", "x\x00"])
def test_an_address_that_is_not_valid_is_named(url):
    with pytest.raises(EndpointError, match=r"not a valid address|cannot be reached"):
        HttpTarget(url)


@pytest.mark.parametrize("key", ["schlüssel", "a\nb", "鍵"])
def test_a_key_that_cannot_be_sent_is_refused(fake, key):
    with pytest.raises(EndpointError, match="header Authorization cannot be sent"):
        fake.target(api_key=key)


@pytest.mark.parametrize(
    ("retry_after", "wait_s"),
    [
        ("2", 2.0),
        (None, 1.0),
        ("0", 0.05),
        ("3600", 5.0),
        ("nan", 0.05),
        ("inf", 5.0),
        ("Sun, 06 Nov 1994 08:49:37 GMT", 1.0),
    ],
)
def test_a_busy_endpoint_is_asked_again(fake, retry_after, wait_s, monkeypatch):
    waits = []
    monkeypatch.setattr(module.time, "sleep", waits.append)
    replies = [429, 503, 504, 200]

    def answer(request):
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        body = {"predictions": [{"index": 2}]}
        return httpx2.Response(replies.pop(0), json=body, headers=headers)

    fake.answer = answer
    endpoint = fake.target(protocol="v1")
    assert endpoint.classes([IMAGE]).tolist() == [2]
    assert waits == [wait_s] * 3
    assert endpoint.queries == 1


def test_an_authority_of_the_users_own_is_trusted(wire):
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    answer = b"HTTP/1.1 418 Teapot\r\nContent-Length: 0\r\n\r\n"

    def write(connection):
        with context.wrap_socket(connection, server_side=True) as secure:
            secure.recv(65536)
            secure.sendall(answer)

    address = wire(write, reads=False).replace("http:", "https:")
    with pytest.raises(EndpointError, match=r"cannot be reached: .*certificate verify failed"):
        HttpTarget(address)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    with pytest.raises(EndpointError, match="answered 418"):
        HttpTarget(address, certificates=trusting)


def test_closing_ends_a_request_that_is_under_way(wire):
    target = HttpTarget.__new__(HttpTarget)
    target._transport = module.Transport(wire(lambda connection: connection.recv(1)))
    from concurrent.futures import ThreadPoolExecutor

    target._threads = ThreadPoolExecutor(1)
    asked = target._threads.submit(target._transport.get, "/")
    with suppress(TimeoutError):
        asked.result(0.2)
    target.close()
    assert asked.exception(60) is not None
