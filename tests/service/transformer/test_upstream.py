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


@pytest.mark.parametrize(
    "path", ["/readyz", "/v2/health/ready", "/v2/models/m", "/v2/models/m/ready"]
)
@pytest.mark.parametrize("part", ["the head", "the body", "informational answers"])
def test_a_probe_does_not_wait_for_an_answer_that_drips(front, stub, path, part):
    """The time of the whole answer counts, and not the time between two bytes."""
    client, over = front(), threading.Event()
    whole = b"HTTP/1.1 200 X\r\ncontent-length: 2000\r\n\r\n" + b"{}".ljust(2000)
    hints = [b"HTTP/1.1 103 X\r\n\r\n"] * 15

    def drip(_):
        pieces = [bytes([byte]) for byte in whole]
        if part == "the body":
            pieces = [whole[:-1000], *pieces[-1000:]]
        elif part == "informational answers":
            pieces = [*hints, whole]
        for piece in pieces:
            yield piece
            over.wait(0.3)

    stub.get = drip
    answer = client.get(path)
    assert not over.is_set()
    over.set()
    assert answer.status_code == 503


def test_an_answer_that_drips_ends_at_the_deadline(front, stub, binary):
    over = threading.Event()

    def do(handler, _):
        handler.send(b"HTTP/1.1 200 X\r\ncontent-length: 1000\r\n\r\n")
        for _ in range(1000):
            handler.send(b" ")
            over.wait(0.1)

    stub.do = do
    answer = front(deadline_ms=1000).post(INFER, **binary(IMAGE))
    assert not over.is_set()
    over.set()
    assert answer.status_code == 504
