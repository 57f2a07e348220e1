"""Clients that close their sending side: some wait for the answer, and most have left."""

import signal
import socket

import pytest

PREDICT = "/v1/predict"
IN_FLIGHT = "warpguard_in_flight_images"
LEFT = f'warpguard_requests_total{{route="{PREDICT}",status="499"}}'
PATIENT = ("--deadline-ms", "600000", "--request-timeout-seconds", "600")
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


def post(body, version="1.1", more=""):
    head = f"POST {PREDICT} HTTP/{version}\r\nhost: x\r\n{more}content-length: {len(body)}\r\n\r\n"
    return head.encode() + body


@pytest.fixture
def held(spawn):
    """A server whose inferences wait for a signal."""
    return spawn("--inference-streams", "1", *PATIENT, fault="held")


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_it_gets_its_answer(patient, make_photograph, receive, version):
    with patient.connect() as connection:
        connection.sendall(post(make_photograph(), version))
        connection.shutdown(socket.SHUT_WR)
        answer = receive(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b'"red"' in answer


def test_it_gets_the_answers_to_all_its_requests(patient, make_photograph, receive):
    with patient.connect() as connection:
        connection.sendall(post(make_photograph()) * 3 + HEALTH)
        connection.shutdown(socket.SHUT_WR)
        answers = receive(connection)
    assert answers.count(b"HTTP/1.1 200 OK") == 4
    assert answers.endswith(b'{"status":"ok"}')


def test_it_is_asked_whether_it_listens_until_the_answer(held, make_photograph, receive):
    with held.connect() as connection:
        connection.sendall(post(make_photograph()))
        held.wait_until(lambda: held.metric(IN_FLIGHT) == 1)
        connection.shutdown(socket.SHUT_WR)
        first = b"HTTP/1.1 100 Continue\r\n\r\n"
        assert connection.recv(len(first)) == first
        held.signal(signal.SIGUSR1)
        answer = receive(connection)
    while answer.startswith(first):
        answer = answer.removeprefix(first)
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in answer
    assert held.metric(LEFT) == 0


def test_it_does_not_hold_up_the_end_of_the_server(held, make_photograph, receive):
    with held.connect() as connection:
        connection.sendall(post(make_photograph(), "1.0"))
        held.wait_until(lambda: held.metric(IN_FLIGHT) == 1)
        connection.shutdown(socket.SHUT_WR)
        held.signal()
        held.wait_until(lambda: not held.is_listening())
        held.signal(signal.SIGUSR1)
        assert receive(connection).startswith(b"HTTP/1.1 200 OK")
    assert held.exit_code() == 0


def test_the_work_ends_once_it_is_known_that_the_client_has_left(held, make_photograph):
    """It has, since it answers with a reset. In HTTP/1.0 nothing can be asked."""
    with held.connect() as leaving, held.connect() as waiting:
        waiting.sendall(post(make_photograph(), "1.0"))
        leaving.sendall(post(make_photograph()))
        held.wait_until(lambda: held.metric(IN_FLIGHT) == 2)
        waiting.shutdown(socket.SHUT_WR)
        leaving.close()
        held.wait_until(lambda: held.metric(LEFT) == 1)
        assert held.metric(IN_FLIGHT) == 1
        held.signal(signal.SIGUSR1)
        assert waiting.recv(65536).startswith(b"HTTP/1.1 200 OK")


def test_a_reset_ends_the_work_at_once(held, make_photograph):
    with held.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        connection.sendall(post(make_photograph()))
        held.wait_until(lambda: held.metric(IN_FLIGHT) == 1)
    held.wait_until(lambda: held.metric(LEFT) == 1)
    assert held.metric(IN_FLIGHT) == 0


@pytest.mark.parametrize("sent", [b"", HEALTH[:20], post(b"x" * 100)[:-1]], ids=["no", "head", "b"])
def test_a_request_that_is_not_whole_is_given_up(patient, receive, sent):
    with patient.connect() as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection) == b""
    patient.wait_until(lambda: patient.metric("warpguard_connections") == 1)


def test_an_idle_connection_that_ends_is_closed(patient, receive):
    with patient.connect() as connection:
        connection.sendall(HEALTH)
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            answer += connection.recv(65536)
        connection.shutdown(socket.SHUT_WR)
        assert receive(connection) == b""
