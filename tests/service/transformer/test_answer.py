"""Answers that cannot be passed back: each is an error of this server's own."""

import gzip
import json
import threading
import zlib

import numpy as np
import pytest

INFER = "/v2/models/m/infer"
IMAGE = np.zeros((1, 32, 32, 3), np.uint8)
MIB = 1 << 20


def raw(*headers, status=200, body=b"{}", framed=True):
    """The bytes of an answer."""
    length = [b"content-length: %d" % len(body)] if framed else []
    return b"\r\n".join([b"HTTP/1.1 %d X" % status, *headers, *length, b"", body])


@pytest.fixture
def ask(front, stub, binary):
    """Ask for an inference whose answer is some bytes, or pieces of bytes."""

    def begin(content, **options):
        stub.do = lambda handler, _: handler.send(content)
        return front(**options).post(INFER, **binary(IMAGE))

    return begin


def check_error(answer, message):
    assert answer.status_code == 502, answer.text
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "retry-after" not in answer.headers


ODD = [204, 205, 206, 300, 301, 302, 304, 307, 308, 407, 600, 999]


@pytest.mark.parametrize("status", ODD)
def test_an_odd_status_is_not_passed_back(ask, stub, status, caplog):
    headers = [b"location: http://127.0.0.1:1/", b"proxy-authenticate: Basic"]
    check_error(ask(raw(*headers, status=status)), f"has the status {status}")
    assert len(stub.received) == 1, "an answered request is not sent again"
    assert "Traceback" not in caplog.text


@pytest.mark.parametrize("path", ["/v2/models/m", "/v2/models/m/ready", "/v2/models/m/versions/1"])
def test_an_odd_status_of_a_document_is_not_passed_back(front, stub, path):
    client = front()
    for status in ODD:
        stub.get = lambda asked, status=status: (
            raw(status=status) if asked == path else stub.usual(asked)
        )
        answer = client.get(path)
        assert answer.status_code in (502, 503)
        assert list(answer.json()) == ["error"]


@pytest.mark.parametrize(
    "content",
    [
        b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\r\n\r\n",
        b"HTTP/1.1 20 X\r\n\r\n",
        b"HTTP/1.1 2000 X\r\n\r\n",
        b"HTTP/2 200 X\r\n\r\n",
        raw(b"bad header"),
        raw(b"x: \0"),
        raw(b"content-length: 3"),
        raw(b"content-length: -1", framed=False),
        raw(b"content-length: 1_0", framed=False),
        raw(b"transfer-encoding: gzip, chunked", framed=False),
        raw(b"transfer-encoding: chunked", framed=False, body=b"zz\r\n"),
        raw(b"transfer-encoding: chunked", framed=False, body=b"-1\r\n"),
        raw(b"x: " + bytes(200_000).replace(b"\0", b"y")),
        b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\n\r\n" + raw(),
        b"HTTP/1.1 103 Early Hints\r\n\r\n" * 1000 + raw(),
    ],
)
def test_an_answer_that_is_not_valid_http_is_an_error(ask, stub, content, caplog):
    def close_too(handler, _):
        handler.send(content)
        handler.close_connection = True

    check_error(ask(content), "valid HTTP")
    assert len(stub.received) == 1
    stub.do = close_too
    check_error(ask(content), "valid HTTP")
    assert len(stub.received) == 2, "the end of the connection makes no difference"
    assert max(len(record.getMessage()) for record in caplog.records) < 500


def test_an_informational_answer_is_skipped(ask):
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n"
    assert ask(b"HTTP/1.1 100 Continue\r\n\r\n" + 2 * hints + raw()).json() == {}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("content-type", b"application/json\x01"),
        ("content-type", "application/json; charset=é".encode()),
        ("content-type", b"application/json\r\ncontent-type: text/html"),
        ("content-type", b"x" * 1000),
        ("retry-after", b"\x7f"),
        ("retry-after", "1é".encode()),
        ("inference-header-content-length", b"-1"),
        ("inference-header-content-length", b"1e3"),
        ("inference-header-content-length", b"3"),
        ("inference-header-content-length", b"9" * 300),
    ],
)
def test_a_header_that_is_not_valid_is_an_error(ask, name, value):
    check_error(ask(raw(name.encode() + b": " + value)), f"a header {name}")


def test_headers_of_the_connection_are_not_passed_back(ask):
    answer = ask(
        raw(
            b"connection: Retry-After, keep-alive",
            b"retry-after: 9",
            b"keep-alive: timeout=9",
            b"x-request-id: its-own",
            b"traceparent: 00-1-2-00",
            b"set-cookie: a=b",
            b"content-type: application/json",
        )
    )
    assert answer.status_code == 200
    assert sorted(answer.headers) == ["content-length", "content-type", "x-request-id"]
    assert answer.headers["x-request-id"] != "its-own"


# Size and coding


def chunk(data):
    return b"%x\r\n%b\r\n" % (len(data), data)


def bomb():
    """Some kilobytes of gzip that are many megabytes."""
    compressor = zlib.compressobj(9, wbits=31)
    while True:
        yield compressor.compress(bytes(MIB)) + compressor.flush(zlib.Z_SYNC_FLUSH)


def empty_blocks():
    """An endless gzip stream of no bytes."""
    yield zlib.compressobj(9, wbits=31).flush(zlib.Z_SYNC_FLUSH)
    yield from endless(b"\0\0\0\xff\xff" * 10_000)


def endless(piece):
    while True:
        yield piece


@pytest.mark.parametrize(
    ("headers", "pieces"),
    [
        ([b"content-length: 1000000000"], endless(bytes(1000))),
        ([], endless(bytes(MIB))),
        ([b"transfer-encoding: chunked"], endless(chunk(bytes(MIB)))),
        ([b"content-encoding: gzip"], bomb()),
        ([b"content-encoding: gzip"], empty_blocks()),
    ],
    ids=["declared", "until the end", "chunked", "bomb", "empty blocks"],
)
def test_an_answer_is_read_up_to_a_limit(ask, stub, headers, pieces):
    sent_bytes = 0

    def content():
        nonlocal sent_bytes
        yield raw(*headers, framed=False, body=b"")
        for piece in pieces:
            yield piece
            sent_bytes += len(piece)

    check_error(ask(content(), predictor_max_bytes=MIB), f"is larger than {MIB} bytes")
    assert sent_bytes < 16 * MIB, "this much fits into the sockets"
    assert len(stub.received) == 1


@pytest.mark.parametrize("size", [MIB, MIB + 1])
@pytest.mark.parametrize("coding", ["identity", "gzip", "x-gzip", "GZIP"])
def test_an_answer_of_the_limit_is_passed_back(ask, coding, size):
    body = bytes(size)
    sent = gzip.compress(body) if "gzip" in coding.lower() else body
    answer = ask(raw(b"content-encoding: " + coding.encode(), body=sent), predictor_max_bytes=MIB)
    if size == MIB:
        assert (answer.status_code, answer.content) == (200, body)
    else:
        check_error(answer, f"is larger than {MIB} bytes")


@pytest.mark.parametrize("coding", ["deflate", "br", "zstd", "gzip, gzip", "identity, gzip", "x"])
def test_another_coding_is_an_error(ask, coding):
    body = zlib.compress(b"{}")
    answer = ask(raw(b"content-encoding: " + coding.encode(), body=body))
    check_error(answer, "has a content encoding other than gzip")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"{}", "is not valid gzip"),
        (b"", "is cut short"),
        (gzip.compress(b"{}")[:-1], "is cut short"),
        (gzip.compress(b"{}") + b"x", "has bytes after the end of its gzip stream"),
    ],
    ids=["not gzip", "empty", "cut short", "too long"],  # the bytes have the time in them
)
def test_gzip_that_is_not_valid_is_an_error(ask, body, message):
    check_error(ask(raw(b"content-encoding: gzip", body=body)), message)


def test_a_document_has_a_limit_of_its_own(front, stub):
    client = front()
    stub.get = lambda _: (200, {"x": "x" * MIB})
    check_error(client.get("/v2/models/m"), f"is larger than {MIB} bytes")
    assert client.get("/readyz").status_code == 503


def test_the_largest_of_too_many_answers_is_given_up(front, stub, binary):
    """The newcomer is answered, although the other answer has filled what all may hold."""
    filled, answered = threading.Event(), threading.Event()

    def do(handler, request):
        if request.document["id"] == "large":
            handler.send(raw(b"content-length: 4000000", framed=False, body=bytes(3_000_000)))
            filled.set()
            answered.wait(60)
        else:
            handler.answer(200, {"x": "x" * 2_000_000})

    stub.do = do
    client = front(predictor_max_bytes=4_000_000, max_buffered_bytes=4_000_000)
    answers = {}

    def post(name):
        answers[name] = client.post(INFER, **binary(IMAGE, id=name))

    waiting = threading.Thread(target=post, args=("large",))
    waiting.start()
    assert filled.wait(60)
    post("small")
    waiting.join()
    answered.set()
    assert len(answers["small"].json()["x"]) == 2_000_000
    assert answers["large"].status_code == 503
    assert answers["large"].headers["retry-after"] == "1"
    assert "too large together" in answers["large"].json()["error"]


# Nothing of one answer goes with another request


@pytest.mark.parametrize(
    "more", [raw(body=b'{"for": "another"}'), b"HTTP/1.1 200 X\r\ncontent-", b"x"]
)
def test_what_follows_an_answer_is_not_another_request_s_answer(front, stub, binary, more):
    def do(handler, request):
        name = request.document["id"]
        handler.send(raw(body=json.dumps({"for": name}).encode()) + more)

    stub.do = do
    client = front()
    for number in range(20):
        answer = client.post(INFER, **binary(IMAGE, id=str(number)))
        assert (answer.status_code, answer.json()) == (200, {"for": str(number)})


def test_an_answer_that_nobody_asked_for_is_not_used(front, stub, binary):
    """It arrives while the connection is idle."""
    handlers = []

    def do(handler, request):
        handlers.append(handler)
        handler.answer(200, {"for": request.document["id"]})

    stub.do = do
    client = front()
    for number in range(20):
        answer = client.post(INFER, **binary(IMAGE, id=str(number)))
        assert (answer.status_code, answer.json()) == (200, {"for": str(number)})
        handlers[-1].send(raw(body=b'{"for": "another"}'))


def test_cookies_do_not_go_with_another_request(front, stub, binary):
    stub.do = lambda handler, _: handler.answer(200, {}, set_cookie="session=secret; Path=/")
    client = front()
    for _ in range(3):
        assert client.post(INFER, **binary(IMAGE)).status_code == 200
        assert "set-cookie" not in client.get("/v2/models/m").headers
    assert not any("cookie" in request.headers for request in stub.received)
    assert len({request.headers["host"] for request in stub.received}) == 1


def test_a_connection_is_used_again(front, stub, binary):
    stub.do = lambda handler, _: handler.answer(200, {"port": handler.client_address[1]})
    client = front()
    ports = {client.post(INFER, **binary(IMAGE)).json()["port"] for _ in range(5)}
    assert len(ports) == 1
