"""Clients that are slow, silent or many, and clients that do not speak HTTP."""

import json
import resource
import select
import socket
import threading
import time
from contextlib import suppress

import pytest

PREDICT = "/v1/predict"
HEAD = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\n"
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"
LAST = b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
PATIENT = ("--request-timeout-seconds", "600", "--keep-alive-seconds", "600")


def receive(connection):
    """All that arrives until the server closes; fails if it does not close in a long time."""
    parts = []
    try:
        while part := connection.recv(65536):
            parts.append(part)
    except ConnectionResetError:
        pass
    return b"".join(parts)


def receive_health(connection):
    """The answer to a request for the health, on a connection that stays open."""
    answer = b""
    while not answer.endswith(b'{"status":"ok"}'):
        part = connection.recv(65536)
        assert part, answer
        answer += part
    return answer


def refusal(connection):
    """The status, the error's code and its message, once the server has closed."""
    head, _, body = receive(connection).partition(b"\r\n\r\n")
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    error = json.loads(body)["error"]
    return int(head.split()[1]), error["code"], error["message"]


@pytest.fixture(scope="module")
def hasty(spawn_for_all):
    """A server that waits one second for a request, and long between requests."""
    return spawn_for_all("--request-timeout-seconds", "1", "--keep-alive-seconds", "600")


def drip(connection, piece):
    """Send a piece now and then, until the connection is closed."""

    def send():
        with suppress(OSError):
            while True:
                connection.sendall(piece)
                time.sleep(0.1)

    threading.Thread(target=send, daemon=True).start()


@pytest.mark.parametrize(
    ("start", "piece"),
    [
        (b"x-slow: ", b"x"),
        (b"content-length: 100000\r\n\r\n", b"x"),
        (b"transfer-encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
    ],
    ids=["head", "body", "chunks"],
)
def test_a_request_that_drips_in_is_cut(hasty, start, piece):
    with hasty.connect() as connection:
        connection.sendall(HEAD.encode() + start)
        drip(connection, piece)
        status, code, message = refusal(connection)
        assert (status, code) == (408, "request_timeout")
        assert "1 s" in message
    timeouts = 'warpguard_errors_total{code="request_timeout"}'
    hasty.wait_until(lambda: hasty.metric(timeouts) >= 1)
    hasty.wait_until(lambda: hasty.metric("warpguard_in_flight_images") == 0)


@pytest.mark.parametrize("text", [b"", b"\r\n"], ids=["no bytes", "a blank line"])
def test_a_connection_without_a_request_is_closed_without_an_answer(hasty, text):
    with hasty.connect() as connection:
        connection.sendall(text)
        assert receive(connection) == b""


def test_an_idle_connection_outlives_one_that_never_asks(hasty):
    """The limit of a request's arrival does not count between requests."""
    with hasty.connect() as idle, hasty.connect() as silent:
        idle.sendall(HEALTH)
        receive_health(idle)
        assert receive(silent) == b""
        idle.sendall(HEALTH)
        assert receive_health(idle).startswith(b"HTTP/1.1 200")


def test_an_idle_connection_is_closed_without_another_answer(spawn):
    server = spawn("--request-timeout-seconds", "600", "--keep-alive-seconds", "0.5")
    with server.connect() as connection:
        connection.sendall(HEALTH)
        assert receive(connection).count(b"HTTP/1.1") == 1


def test_a_pipelined_request_that_drips_in_is_cut(hasty):
    """It begins in the middle of the chunk with which the previous request arrives."""
    with hasty.connect() as connection:
        begun = HEAD.encode() + b"content-length: 100000\r\n\r\nx"
        connection.sendall(b"GET /v1/defenses HTTP/1.1\r\nhost: x\r\n\r\n" + begun)
        answers = receive(connection)
    assert answers.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answers


def test_a_head_that_begins_in_the_middle_of_a_body_s_last_bytes(patient, make_photograph):
    body = make_photograph(size=(120, 120), noise=60, kind="BMP")
    assert len(body) > 40_000
    first = HEAD.encode() + f"content-length: {len(body)}\r\n\r\n".encode() + body
    with patient.connect() as connection:
        connection.sendall(first + b"GET /healthz HTTP/1.1\r\n")
        time.sleep(0.1)  # so that the rest is most probably a chunk of its own
        connection.sendall(b"host: x\r\nconnection: close\r\n\r\n")
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 2


def test_blank_lines_after_an_answer_do_not_hold_the_connection(hasty):
    with hasty.connect() as connection:
        connection.sendall(HEALTH)
        receive_health(connection)
        connection.sendall(b"\r\n")
        assert receive(connection) == b""


def test_a_body_that_the_server_does_not_read_does_not_hold_the_connection(hasty):
    """It is refused because of its head, and then goes on to drip."""
    with hasty.connect() as connection:
        connection.sendall(HEAD.encode() + b"content-length: 99999999\r\n\r\n")
        drip(connection, b"x")
        assert receive(connection).startswith(b"HTTP/1.1 413")


def ask_for_much(connection, server, body, times=1):
    """Ask for images of more bytes than the two sockets hold."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
    connection.settimeout(60)
    connection.connect(("127.0.0.1", server.port))
    head = f"POST /v1/defend HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connection.sendall((head.encode() + body) * times)


def test_a_client_that_fetches_nothing_is_disconnected(spawn, make_photograph):
    server = spawn("--request-timeout-seconds", "2", "--defense", "none")
    body = make_photograph(size=(1300, 1300), noise=60, kind="BMP")
    answered = 'warpguard_requests_total{route="/v1/defend",status="200"}'
    with socket.socket() as connection:
        ask_for_much(connection, server, body, times=2)
        server.wait_until(lambda: server.metric(answered) >= 1)
        server.wait_until(lambda: server.metric("warpguard_connections") == 1)
        server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 0)


def test_a_slow_client_that_goes_on_fetching_gets_all_of_it(spawn, make_photograph):
    limit_s, pause_s = 3, 0.25
    server = spawn("--request-timeout-seconds", str(limit_s), "--defense", "none")
    body = make_photograph(size=(2000, 2000), noise=60, kind="BMP")
    with socket.socket() as connection:
        ask_for_much(connection, server, body)
        head, _, png = connection.recv(65536).partition(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0])
        fetched, pauses = len(png), 0
        while fetched < length:
            part = connection.recv(65536)
            assert part, f"{fetched} of {length}"
            fetched += len(part)
            if fetched > (pauses + 1) * 600_000:
                pauses += 1
                time.sleep(pause_s)
    assert length > 10_000_000
    assert pauses * pause_s > 1.2 * limit_s  # so a limit on the whole answer would have cut it


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
def test_a_head_that_is_not_valid_is_refused_with_an_error_in_json(patient, text, status, code):
    with patient.connect() as connection:
        connection.sendall(text)
        assert refusal(connection)[:2] == (status, code)


def test_the_open_inference_protocol_s_errors_have_its_shape_here_too(patient):
    with patient.connect() as connection:
        connection.sendall(b"GET /v2/models HTTP/1.1\r\nx: " + b"x" * 20_000 + b"\r\n\r\n")
        _, _, body = receive(connection).partition(b"\r\n\r\n")
    assert json.loads(body) == {"error": "The head is larger than 16384 bytes."}


def test_a_head_of_sixteen_thousand_bytes_in_small_pieces_is_accepted(patient):
    text = HEALTH.removesuffix(b"\r\n") + b"x: " + b"x" * 16_000 + b"\r\n\r\n"
    with patient.connect() as connection:
        for start in range(0, len(text), 1000):
            connection.sendall(text[start : start + 1000])
            time.sleep(0.005)
        assert receive_health(connection).startswith(b"HTTP/1.1 200")


def test_a_thousand_connections_held_open_hold_up_no_other_client(spawn, make_photograph):
    """Half of them never ask, half stop in the middle of a head; nor do they hold up the end."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 4096)), hard))
    server = spawn(*PATIENT, "--drain-seconds", "600")
    held = [server.connect() for _ in range(1000)]
    try:
        for connection in held[::2]:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nx-slow: ")
        server.wait_until(lambda: server.metric("warpguard_connections") == 1001)
        statuses = {server.ask(PREDICT, make_photograph()).status for _ in range(20)}
        assert statuses == {200}
        server.signal()
        assert server.exit_code() == 0
    finally:
        for connection in held:
            connection.close()


def test_bodies_are_bounded_together(spawn, make_photograph):
    options = ("--max-body-bytes", "100000", "--max-buffered-bytes", "250000", *PATIENT)
    server = spawn(*options)
    head = HEAD.encode() + b"content-length: 100000\r\n\r\n"
    held = [server.connect() for _ in range(3)]
    for connection in held:
        connection.sendall(head + b"x" * 99_000)
    answered, _, _ = select.select(held, [], [], 60)  # the one that arrived last
    (refused,) = answered
    assert refused.recv(65536).startswith(b"HTTP/1.1 429")
    assert server.ask(PREDICT, make_photograph()).status == 200
    assert select.select([each for each in held if each is not refused], [], [], 0)[0] == []
    for connection in held:
        connection.close()
    server.wait_until(lambda: server.metric("warpguard_connections") == 1)
    answers = [server.ask(PREDICT, b"x" * 99_000).status for _ in range(4)]
    assert answers == [415] * 4


def test_head_on_a_connection_leaves_it_usable(patient):
    text = b"%b /healthz HTTP/1.1\r\nhost: x\r\n%b\r\n"
    with patient.connect() as connection:
        connection.sendall(text % (b"HEAD", b"") * 2 + text % (b"GET", b"connection: close\r\n"))
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 3
    assert answers.count(b"content-length: 15") == 3
    assert answers.count(b'{"status":"ok"}') == 1
    assert answers.endswith(b'{"status":"ok"}')
