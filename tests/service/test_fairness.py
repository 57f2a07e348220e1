"""What one client gets while another one floods a server in a process of its own."""

import http.client
import json
import signal
from concurrent.futures import ThreadPoolExecutor

import pytest

from service.auth import key_file

PREDICT = "/v1/predict"
IN_FLIGHT = "warpguard_in_flight_images"
FLOOD = 20


@pytest.fixture(params=["keys", "addresses"])
def crowd(request, spawn, tmp_path, make_photograph):
    """A server that holds its work until SIGUSR1; gives it, and what posts for a client."""
    body, keys = make_photograph(), {}
    options = ["--inference-streams", "1", "--preprocess-threads", "1", "--log-format", "json"]
    if request.param == "keys":
        for name in ("flood", "honest"):
            keys[name], line = key_file.new(name)
            key_file.append(tmp_path / "keys.txt", line)
        options += ["--api-keys", str(tmp_path / "keys.txt")]
    sources = {"flood": "127.0.0.1", "honest": "127.0.0.1" if keys else "127.0.0.2"}

    def post(server, client, query=""):
        connection = http.client.HTTPConnection(
            "127.0.0.1", server.port, timeout=120, source_address=(sources[client], 0)
        )
        headers = {"x-request-id": client} | ({"x-api-key": keys[client]} if keys else {})
        connection.request("POST", PREDICT + query, body, headers)
        answer = connection.getresponse()
        answer.read()
        connection.close()
        return answer.status

    with ThreadPoolExecutor(2 * FLOOD) as pool:
        yield (
            lambda *more: spawn(*options, *more, fault="held"),
            lambda *arguments: pool.submit(post, *arguments),
        )


def test_an_answer_comes_before_those_of_another_client_s_flood(crowd):
    start, post = crowd
    server = start()
    flood = [post(server, "flood") for _ in range(FLOOD)]
    server.wait_until(lambda: server.metric(IN_FLIGHT) == FLOOD)
    honest = post(server, "honest")
    server.wait_until(lambda: server.metric(IN_FLIGHT) == FLOOD + 1)
    server.signal(signal.SIGUSR1)
    assert {answer.result() for answer in [honest, *flood]} == {200}
    server.wait_until(lambda: server.log.count(f'"route": "{PREDICT}"') > FLOOD)
    lines = [json.loads(line) for line in server.log.splitlines() if '"route"' in line]
    # One image of the flood was being inferred, and one had perhaps been prepared.
    assert [line["request_id"] for line in lines].index("honest") <= 2


def test_a_client_is_admitted_although_another_one_holds_all_places(crowd):
    start, post = crowd
    server = start("--max-in-flight", "8")
    flood = [post(server, "flood", "?draws=2") for _ in range(4)]
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 8)
    assert post(server, "flood").result() == 429
    honest = [post(server, "honest") for _ in range(2)]
    server.wait_until(lambda: sum(answer.done() for answer in flood) == 1)
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 8)
    server.signal(signal.SIGUSR1)
    assert [answer.result() for answer in honest] == [200, 200]
    assert sorted(answer.result() for answer in flood) == [200, 200, 200, 429]
