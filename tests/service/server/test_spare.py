"""The connections beyond the limit, on which probes are answered."""

import json
import socket

import pytest

from service.server.spare import SpareConnections

PREDICT = "/v1/predict"
PATIENT = ("--request-timeout-seconds", "600", "--keep-alive-seconds", "600")
HEALTH = b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"


@pytest.fixture
def full(spawn):
    """A server with as many connections as it takes; gives it and those connections."""
    server = spawn("--max-connections", "3", *PATIENT)
    held = [server.connect() for _ in range(3)]
    server.wait_until(lambda: server.metric("warpguard_connections") == 4)
    yield server, held
    for connection in held:
        connection.close()


def connect_from(address, server):
    return socket.create_connection(("127.0.0.1", server.port), 60, (address, 0))


def test_over_the_limit_of_connections_only_probes_are_answered(full, make_photograph, receive):
    server, held = full
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
        assert receive(silent) == b""  # although the server is patient below the limit
    for connection in held:
        connection.close()
    server.wait_until(lambda: server.ask(PREDICT, make_photograph()).status == 200)


def test_a_spare_connection_is_closed_after_its_answer(full, receive):
    server, _ = full
    for _ in range(100):  # more than there are spare ones; none of them is held
        with server.connect() as connection:
            connection.sendall(HEALTH * 2)
            answer = receive(connection)
            assert answer.startswith(b"HTTP/1.1 200")
            assert b"connection: close" in answer
            assert answer.count(b"HTTP/1.1") == 1


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="only Linux has all of 127.0.0.0/8")
def test_one_address_does_not_take_all_the_spare_connections(full, receive):
    """Two do: together there are 64."""
    server, held = full
    for address in ("127.0.0.2", "127.0.0.3"):
        assert server.ask("/healthz").status == 200
        held += [connect_from(address, server) for _ in range(40)]
        with connect_from(address, server) as connection:
            assert receive(connection) == b""
    with server.connect() as connection:
        assert receive(connection) == b""
    server.wait_until(server.is_ready)  # 2 s later, since none of them has asked


def test_what_is_given_back_can_be_taken_again():
    spare = SpareConnections()
    assert [spare.take("a") for _ in range(33)] == [True] * 32 + [False]
    spare.give_back("a")
    assert spare.take("a")
    assert [spare.take(f"b{number}") for number in range(33)] == [True] * 32 + [False]
    assert not spare.take("c")
    spare.give_back("b0")
    assert spare.take("c")
