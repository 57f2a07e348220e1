"""What a request's head, and its trailers, may be."""

import time
from contextlib import suppress

import pytest

PREDICT = "/v1/predict"
POST = f"POST {PREDICT} HTTP/1.1\r\n"
CLOSE = "host: x\r\nconnection: close\r\n"
CHUNKED = f"{POST}{CLOSE}transfer-encoding: chunked\r\n\r\n".encode()


def chunks(body, size=1000):
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n"


def rss_bytes(server):
    return 4096 * int((server.proc / "statm").read_text().split()[1])


ENDLESS = {
    "tiny": b"a:\r\n" * 16_000,
    "long": b"x-long: " + b"v" * 1000 + b"\r\n",
    "one value": b"v" * 65_536,
    "one name": b"n" * 65_536,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_trailers_are_limited_as_a_head_is(patient, make_photograph, exchange, kind):
    start = CHUNKED + chunks(make_photograph()) + (b"x: " if kind == "one value" else b"")
    before = rss_bytes(patient)
    answer = exchange(patient, start, *([ENDLESS[kind]] * 200))
    assert answer.error[:2] == (431, "head_too_large")
    assert rss_bytes(patient) - before < 8_000_000


def test_trailers_after_the_answer_are_limited_too(spawn, tmp_path, receive):
    """A client without a key gets its answer before its body ends."""
    keys = tmp_path / "keys.txt"
    keys.write_text(f"shop {'a' * 64}")
    server = spawn("--api-keys", str(keys), "--request-timeout-seconds", "600")
    with server.connect() as connection:
        start = CHUNKED.replace(b"connection: close\r\n", b"") + b"1\r\nx\r\n0\r\n"
        connection.sendall(start)
        answer = connection.recv(65536)
        assert answer.startswith(b"HTTP/1.1 401")
        with suppress(OSError):
            for _ in range(200):
                connection.sendall(ENDLESS["tiny"])
            pytest.fail("The server reads on.")
        assert b"HTTP/1.1" not in receive(connection)


def test_trailers_are_read_and_dropped(patient, make_photograph, exchange):
    """They come after the check of the key, and after the compression's look at the headers."""
    trailers = b"content-encoding: gzip\r\nx-request-id: trailer\r\nhost: y\r\n\r\n"
    answer = exchange(patient, CHUNKED + chunks(make_photograph()) + trailers)
    assert answer.status == 200
    assert b"trailer" not in answer.head


def test_trailers_in_small_pieces_up_to_the_limit_are_accepted(patient, make_photograph, exchange):
    text = b"x: " + b"v" * 15_000 + b"\r\n\r\n"
    pieces = [text[at : at + 1000] for at in range(0, len(text), 1000)]
    answer = exchange(patient, CHUNKED + chunks(make_photograph()), *pieces)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("request_line", "headers", "status", "words"),
    [
        ("GET /healthz HTTP/1.1", "", 400, "one Host header; this one has 0"),
        ("GET /healthz HTTP/1.1", "host: a\r\nhost: a\r\n", 400, "this one has 2"),
        ("GET /healthz HTTP/1.0", "host: a\r\nhost: b\r\n", 400, "this one has 2"),
        ("GET /healthz?a b HTTP/1.1", "host: x\r\n", 400, "%20"),
        ("GET /a\tb HTTP/1.1", "host: x\r\n", 400, "%XX"),
        ("BREW /healthz HTTP/1.1", "host: x\r\n", 400, "not a method"),
        ("GET /healthz HTTP/9.9", "host: x\r\n", 400, "version"),
        ("PRI * HTTP/2.0", "\r\nSM\r\n", 400, "HTTP/2"),
        ("CONNECT x:1 HTTP/1.1", "host: x\r\n", 400, "proxy"),
        ("POST / HTTP/1.1", "host: x\r\ncontent-length: 1\r\ncontent-length: 1\r\n", 400, "two"),
        (
            "POST / HTTP/1.1",
            "host: x\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n",
            400,
            "send one of them",
        ),
        (
            "POST / HTTP/1.1",
            "host: x\r\ntransfer-encoding: chunked\r\ncontent-length: 1\r\n",
            400,
            "send one of them",
        ),
        ("POST / HTTP/1.1", "host: x\r\ntransfer-encoding: gzip, chunked\r\n", 501, "chunked"),
        ("POST / HTTP/1.1", "host: x\r\ntransfer-encoding: gzip\r\n", 501, "chunked"),
        ("POST / HTTP/1.1", "host: x\r\ntransfer-encoding: identity\r\n", 501, "chunked"),
        (
            "POST / HTTP/1.1",
            "host: x\r\ntransfer-encoding: gzip\r\ntransfer-encoding: chunked\r\n",
            501,
            "chunked",
        ),
    ],
)
def test_what_is_wrong_with_a_head_is_named(
    patient, exchange, request_line, headers, status, words
):
    answer = exchange(patient, f"{request_line}\r\n{headers}\r\n".encode())
    assert b"connection: close" in answer.head
    assert answer.error[0] == status
    assert words in answer.error[2]


@pytest.mark.parametrize(
    "text",
    [
        "GET /healthz HTTP/1.0\r\n\r\n",
        "GET http://x/healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        f"{POST}{CLOSE}Transfer-Encoding: Chunked\r\n\r\n0\r\n\r\n",
        f"GET /healthz HTTP/1.1\r\n{CLOSE}te: gzip, trailers\r\n\r\n",
    ],
    ids=["1.0", "absolute", "upper case", "te"],
)
def test_what_is_right_is_served(patient, exchange, text):
    answer = exchange(patient, text.encode())
    assert answer.status == (200 if text.startswith("GET") else 400)
    if text.startswith("POST"):
        assert "empty" in answer.error[2]


def upgrade(protocol, more, target=PREDICT):
    settings = "http2-settings: AAMAAABkAAQCAAAAAAIAAAAA\r\n" if protocol == "h2c" else ""
    connection = "connection: Upgrade, HTTP2-Settings\r\n"
    return (
        f"POST {target} HTTP/1.1\r\nhost: x\r\n{connection}upgrade: {protocol}\r\n{settings}{more}"
    ).encode()


LAST = f"GET /healthz HTTP/1.1\r\n{CLOSE}\r\n".encode()


@pytest.mark.parametrize("protocol", ["h2c", "websocket"])
@pytest.mark.parametrize("coding", ["length", "chunks", "none"])
@pytest.mark.parametrize("pause", [False, True], ids=["at once", "head first"])
def test_a_wish_for_another_protocol_does_not_lose_the_body(
    patient, make_photograph, receive, protocol, coding, pause
):
    body = make_photograph()
    if coding == "length":
        head, body = upgrade(protocol, f"content-length: {len(body)}\r\n\r\n"), body
    elif coding == "chunks":
        head, body = upgrade(protocol, "transfer-encoding: chunked\r\n\r\n"), chunks(body) + b"\r\n"
    else:
        head, body = upgrade(protocol, "\r\n"), b""
    with patient.connect() as connection:
        connection.sendall(head if pause else head + body + LAST)
        if pause:
            time.sleep(0.1)
            connection.sendall(body + LAST)
        answers = receive(connection)
    statuses = [part.split()[0] for part in answers.split(b"HTTP/1.1")[1:]]
    assert statuses == [b"400" if coding == "none" else b"200", b"200"]
    assert answers.endswith(b'{"status":"ok"}')
    assert "upgrade" not in patient.log.lower()


def test_a_request_inside_the_body_of_an_upgrade_is_not_served(patient, exchange):
    hidden = b"GET /v1/models HTTP/1.1\r\nhost: x\r\n\r\n"
    head = upgrade("h2c", f"content-length: {len(hidden)}\r\n\r\n")
    answer = exchange(patient, head + hidden + LAST)
    assert answer.status == 415
    both = b"content-length: 3\r\ntransfer-encoding: chunked\r\n\r\n"
    answer = exchange(patient, upgrade("h2c", both.decode()) + b"0\r\n\r\n" + hidden)
    assert answer.status == 400
    assert b"models" not in answer.body


def test_the_limits_hold_for_a_request_that_wishes_for_another_protocol(patient, exchange):
    with patient.connect() as connection:
        connection.sendall(upgrade("h2c", "content-length: 99999999\r\n\r\nx"))
        assert connection.recv(65536).startswith(b"HTTP/1.1 413")
    answer = exchange(patient, upgrade("h2c", "x: " + "x" * 20_000 + "\r\n\r\n"))
    assert answer.status == 431


def test_a_body_over_the_limit_is_not_asked_for(patient, exchange):
    expect = f"{POST}host: x\r\nexpect: 100-continue\r\ncontent-length: "
    answer = exchange(patient, f"{expect}99999999\r\n\r\n".encode())  # and the server closes
    assert answer.error[:2] == (413, "body_too_large")
    assert b"connection: close" in answer.head


def test_a_body_within_the_limit_is_asked_for_once(patient, make_photograph, receive):
    body = make_photograph()
    expect = f"{POST}host: x\r\nexpect: 100-continue\r\ncontent-length: {len(body)}\r\n\r\n"
    with patient.connect() as connection:
        connection.sendall(expect.encode())
        assert connection.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        connection.sendall(body + LAST)  # the connection stays open between them
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2
