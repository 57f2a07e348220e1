"""Clients that are slow, silent, many, or no HTTP clients at all."""

import json
import resource
import socket
import threading
import time

import pytest

PREDICT = "/v1/predict"
HEAD = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\n"


def receive(connection):
    """What comes until the server closes; fails if it does not close within the time limit."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def refused(connection):
    """The status, the error's code and its message, once the server has closed."""
    head, _, body = receive(connection).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    return int(head.split()[1]), error["code"], error["message"]


@pytest.fixture(scope="module")
def hasty(spawn_for_all):
    """A server that waits for a second and no longer."""
    return spawn_for_all("--request-timeout-seconds", "1", "--keep-alive-seconds", "0.5")


def drip(connection, text, seconds=0.1):
    """Send a byte now and then, until the server no longer takes it."""
    try:
        for byte in text:
            connection.sendall(bytes([byte]))
            time.sleep(seconds)
    except OSError:
        pass


@pytest.mark.parametrize(
    "text",
    [
        HEAD.encode() + b"x-slow: " + b"x" * 100,
        HEAD.encode() + b"content-length: 100000\r\n\r\n" + b"x" * 100,
        HEAD.encode() + b"transfer-encoding: chunked\r\n\r\n" + b"1\r\nx\r\n" * 100,
    ],
    ids=["head", "body", "chunks"],
)
def test_a_request_that_drips_in_is_cut(hasty, text):
    with hasty.connect() as connection:
        started = time.monotonic()
        # All but the last hundred bytes at once: they are what drips.
        connection.sendall(text[:-100])
        threading.Thread(target=drip, args=(connection, text[-100:]), daemon=True).start()
        status, code, message = refused(connection)
        assert (status, code) == (408, "request_timeout")
        assert "1 s" in message
        assert 0.9 < time.monotonic() - started < 4
    assert hasty.metric('warpguard_errors_total{code="request_timeout"}') >= 1
    assert hasty.metric("warpguard_in_flight_images") == 0


@pytest.mark.parametrize(
    ("text", "seconds"),
    [(b"", 1), (b"\r\n", 1), (b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n", 0.5)],
    ids=["never asks", "sends a blank line", "asked once"],
)
def test_an_idle_connection_is_closed_without_a_word(hasty, text, seconds):
    with hasty.connect() as connection:
        started = time.monotonic()
        connection.sendall(text)
        answer = receive(connection)
        assert answer.count(b"HTTP/1.1") == text.count(b"GET")
        assert seconds - 0.1 < time.monotonic() - started < seconds + 3


def test_a_pipelined_request_that_drips_in_is_cut(hasty):
    """It begins in the middle of what the one before it arrived with."""
    with hasty.connect() as connection:
        started = time.monotonic()
        begun = HEAD.encode() + b"content-length: 100000\r\n\r\nx"
        connection.sendall(b"GET /v1/defenses HTTP/1.1\r\nhost: x\r\n\r\n" + begun)
        answers = receive(connection)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers
    assert time.monotonic() - started < 4


def test_a_head_that_begins_in_the_middle_of_a_body_s_last_bytes(hasty, make_photograph):
    body = make_photograph(size=(120, 120), noise=60, kind="BMP")
    assert len(body) > 40_000
    first = HEAD.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body
    with hasty.connect() as connection:
        connection.sendall(first + b"GET /healthz HTTP/1.1\r\n")
        time.sleep(0.1)
        connection.sendall(b"host: x\r\nconnection: close\r\n\r\n")
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_blank_lines_after_an_answer_do_not_hold_the_connection(hasty):
    with hasty.connect() as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        answer = b""
        while not answer.endswith(b"}"):
            answer += connection.recv(65536)
        started = time.monotonic()
        connection.sendall(b"\r\n")
        assert receive(connection) == b""
        assert time.monotonic() - started < 4


def test_a_body_that_is_not_waited_for_does_not_hold_the_connection(hasty):
    """It is refused at its head, and then goes on to drip."""
    with hasty.connect() as connection:
        started = time.monotonic()
        connection.sendall(HEAD.encode() + b"content-length: 99999999\r\n\r\n")
        threading.Thread(target=drip, args=(connection, b"x" * 100), daemon=True).start()
        answer = receive(connection)
        assert answer.startswith(b"HTTP/1.1 413")
        assert time.monotonic() - started < 4


def ask_for_much(connection, server, body, times=1):
    """Ask for images of more bytes than the two sockets hold."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(20)
    connection.connect(("127.0.0.1", server.port))
    head = f"POST /v1/defend HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall((head.encode() + body) * times)


def test_a_client_that_fetches_nothing_is_left(spawn, make_photograph):
    server = spawn("--request-timeout-seconds", "0.5")
    body = make_photograph(size=(1300, 1300), noise=60, kind="BMP")
    with socket.socket() as connection:
        ask_for_much(connection, server, body, times=2)
        server.wait_until(lambda: server.metric("warpguard_connections") == 2)
        server.wait_until(lambda: server.metric("warpguard_connections") == 1)
        server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 0)


def test_a_slow_client_that_goes_on_fetching_gets_all_of_it(spawn, make_photograph):
    server = spawn("--request-timeout-seconds", "2")
    body = make_photograph(size=(2000, 2000), noise=60, kind="BMP")
    with socket.socket() as connection:
        ask_for_much(connection, server, body)
        head, _, png = connection.recv(65536).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        fetched = len(png)
        started, pauses = time.monotonic(), 0
        while fetched < length:
            part = connection.recv(65536)
            assert part, f"{fetched} of {length}"
            fetched += len(part)
            if fetched > (pauses + 1) * 500_000:  # few and long: a busy machine adds little
                pauses += 1
                time.sleep(0.14)
        assert length > 10_000_000
        assert time.monotonic() - started > 2.8  # 1.4 times the limit


@pytest.mark.parametrize(
    ("text", "status", "code"),
    [
        (
            b"GET / HTTP/1.1\r\nhost: x\r\nx-large: " + b"x" * 20_000 + b"\r\n\r\n",
            431,
            "head_too_large",
        ),
        (b"GET /" + b"x" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a:b\r\n" * 10_000 + b"\r\n", 431, "head_too_large"),
        (b"GET / HTTP/1.1\r\nx-endless: " + b"x" * 300_000, 431, "head_too_large"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "bad_request"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\ncontent-length: x\r\n\r\n", 400, "bad_request"),
        (b"CONNECT host:1 HTTP/1.1\r\n\r\n", 400, "bad_request"),
    ],
    ids=["header", "path", "headers", "endless", "tls", "ssh", "length", "connect"],
)
def test_what_is_no_decent_head_is_refused_as_everything_is(hasty, text, status, code):
    with hasty.connect() as connection:
        connection.sendall(text)
        assert refused(connection)[:2] == (status, code)


def test_the_open_inference_protocol_s_errors_have_its_shape_here_too(hasty):
    with hasty.connect() as connection:
        connection.sendall(b"GET /v2/models HTTP/1.1\r\nx: " + b"x" * 20_000 + b"\r\n\r\n")
        _, _, body = receive(connection).partition(b"\r\n\r\n")
    assert json.loads(body) == {"error": "The head is larger than 16384 bytes."}


def test_a_head_of_sixteen_thousand_bytes_in_small_pieces_is_none_too_large(hasty):
    text = b"GET /healthz HTTP/1.1\r\nhost: x\r\nx: " + b"x" * 16_000 + b"\r\n\r\n"
    with hasty.connect() as connection:
        for start in range(0, len(text), 1000):
            connection.sendall(text[start : start + 1000])
            time.sleep(0.01)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200")


def test_a_thousand_connections_held_open_stop_nobody(spawn, make_photograph):
    """Half of them never ask, half stop in the middle of a head."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    server = spawn()
    held = [server.connect() for _ in range(1000)]
    try:
        for connection in held[::2]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nx-slow: ")
        server.wait_until(lambda: server.metric("warpguard_connections") == 1001)
        started = time.monotonic()
        statuses = {server.ask(PREDICT, make_photograph()).status for _ in range(20)}
        assert statuses == {200}
        assert time.monotonic() - started < 4
        server.signal()
        assert server.exit_code(5) == 0
    finally:
        for connection in held:
            connection.close()


def test_over_the_limit_of_connections_only_probes_are_answered(spawn, make_photograph):
    server = spawn("--max-connections", "3")
    held = [server.connect() for _ in range(3)]
    server.wait_until(lambda: server.metric("warpguard_connections") == 4)
    answer = server.ask(PREDICT, make_photograph())
    assert answer.status == 503
    assert json.loads(answer.content)["error"]["code"] == "overloaded"
    assert answer.getheader("retry-after") == "1"
    assert answer.getheader("connection") == "close"
    answer = server.ask("/v2/models/colours/infer", b"{}")
    assert answer.status == 503
    assert "3 connections" in json.loads(answer.content)["error"]
    for probe in ("/healthz", "/readyz", "/v2/health/live", "/v2/health/ready", "/metrics"):
        assert server.ask(probe).status == 200
    assert server.metric('warpguard_errors_total{code="overloaded"}') == 2
    with server.connect() as silent:
        started = time.monotonic()
        assert receive(silent) == b""
        assert time.monotonic() - started < 4
    flood = [server.connect() for _ in range(80)]
    # Most are given some seconds to be told; those over a second limit are not.
    server.wait_until(lambda: sum(is_closed(connection) for connection in flood) >= 16, seconds=1)
    for connection in (*held, *flood):
        connection.close()
    server.wait_until(lambda: server.ask(PREDICT, make_photograph()).status == 200)


def is_closed(connection):
    connection.setblocking(False)
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


def test_bodies_are_bounded_together(spawn, make_photograph):
    server = spawn("--max-body-bytes", "100000", "--max-buffered-bytes", "250000")
    head = HEAD.encode() + b"content-length: 100000\r\n\r\n"
    held = [server.connect() for _ in range(3)]
    for connection in held[:2]:
        connection.sendall(head + b"x" * 99_000)
    time.sleep(1)
    held[2].sendall(head + b"x" * 99_000)
    assert held[2].recv(65536).startswith(b"HTTP/1.1 429")
    assert server.ask(PREDICT, make_photograph()).status == 200
    for connection in held:
        connection.close()
    server.wait_until(lambda: server.metric("warpguard_connections") == 1)
    answers = [server.ask(PREDICT, b"x" * 99_000).status for _ in range(4)]
    assert answers == [415] * 4


def test_an_upgrade_is_not_made_and_does_no_harm(hasty, make_photograph):
    """curl asks for HTTP/2 in this way; and nobody speaks WebSocket here."""
    for upgrade in ("h2c", "websocket"):
        headers = {"connection": "upgrade", "upgrade": upgrade}
        assert hasty.ask("/healthz", headers=headers).status == 200


def test_pipelined_requests_are_answered_in_order(hasty, make_photograph):
    body = make_photograph()
    one = HEAD.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body
    last = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
    with hasty.connect() as connection:
        connection.sendall(one * 3 + last)
        answer = receive(connection)
    assert answer.count(b"HTTP/1.1 200 OK") == 4
    assert answer.endswith(b'{"status":"ok"}')
