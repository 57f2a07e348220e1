"""An upstream that is away, slow, back again, or that breaks off in the middle of an answer."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from service.transformer import upstream

INFER = "/v2/models/m/infer"
IMAGE = np.zeros((1, 32, 32, 3), np.uint8)


def hang_up(handler, _):
    handler.close_connection = True
    handler.connection.close()


def half(handler, _):
    """Send half of an answer."""
    handler.send_response(200)
    handler.send_header("content-length", "100")
    handler.end_headers()
    handler.wfile.write(b"{")
    hang_up(handler, _)


@pytest.mark.parametrize("failure", [hang_up, half])
def test_a_request_is_sent_again_after_a_failed_connection(front, stub, binary, failure):
    failures = iter([failure, failure])

    def do(handler, request):
        next(failures, lambda handler, _: handler.answer(200, {"outputs": []}))(handler, request)

    stub.do = do
    answer = front().post(INFER, **binary(IMAGE))
    assert (answer.status_code, answer.json()) == (200, {"outputs": []})
    assert [request.body for request in stub.received] == 3 * [stub.received[0].body]


@pytest.mark.parametrize("failure", [hang_up, half])
def test_a_request_is_given_up_after_some_failed_connections(front, stub, binary, failure):
    stub.do = failure
    answer = front().post(INFER, **binary(IMAGE))
    assert answer.status_code == 503
    assert answer.headers["retry-after"] == "1"
    assert "cannot be reached" in answer.json()["error"]
    assert len(stub.received) == 1 + len(upstream.RETRY_PAUSES_S)


def test_an_answer_that_cannot_be_read_is_an_error(front, stub, binary):
    def do(handler, _):
        handler.wfile.write(b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\n")
        handler.wfile.write(b"content-length: 3\r\n\r\nabc")

    stub.do = do
    answer = front().post(INFER, **binary(IMAGE))
    assert answer.status_code == 503
    assert len(stub.received) == 1, "an answered request is not sent again"


def test_an_upstream_that_was_away_is_used_again(front, stub, make_stub, binary):
    """The connections that were open before are stale."""
    client = front()
    with ThreadPoolExecutor(8) as pool:

        def ask(_):
            return client.post(INFER, **binary(IMAGE)).status_code

        assert set(pool.map(ask, range(16))) == {200}
        stub.stop()
        assert client.get("/readyz").status_code == 503
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/v2/models/m/ready").status_code == 503
        assert client.get("/v2/models/m").status_code == 503
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/healthz").status_code == 200
        assert "warpguard_ready 0.0" in client.get("/metrics").text
        answer = client.post(INFER, **binary(IMAGE))
        assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
        again = make_stub(stub.server_port)
        assert set(pool.map(ask, range(16))) == {200}
    assert client.get("/readyz").status_code == 200
    assert client.get("/v2/models/m/ready").json() == {"name": "m", "ready": True}
    assert len(again.received) == 16


def test_the_server_is_not_ready_while_the_upstream_s_model_is_not(front, stub):
    client = front()
    stub.ready = 503
    answer = client.get("/v2/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"error": "The classifier behind this server is not ready."}


@pytest.mark.parametrize("whose", ["the server's", "the client's"])
def test_a_request_to_a_slow_upstream_ends_at_the_deadline(front, stub, binary, whose):
    over = threading.Event()
    stub.do = lambda *_: over.wait(60)
    client = front(deadline_ms=300 if whose == "the server's" else 600_000)
    parameters = {"timeout": 300_000} if whose == "the client's" else {}
    answer = client.post(INFER, **binary(IMAGE, parameters=parameters))
    assert not over.is_set()
    over.set()
    assert answer.status_code == 504
    assert "300 ms" in answer.json()["error"]
    assert len(stub.received) <= 1  # 0 if the machine was too busy to send it in time


def test_images_at_work_are_bounded(front, stub, binary):
    begun, over = threading.Semaphore(0), threading.Event()

    def do(handler, _):
        begun.release()
        over.wait(60)
        handler.answer(200, {})

    stub.do = do
    client = front(max_in_flight=3)
    two, four = binary(np.repeat(IMAGE, 2, 0)), binary(np.repeat(IMAGE, 4, 0))
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.post, INFER, **two)
        assert begun.acquire(timeout=60)
        answer = client.post(INFER, **two)
        assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
        assert client.post(INFER, **four).status_code == 413
        over.set()
        assert first.result().status_code == 200
    assert client.post(INFER, **two).status_code == 200
