"""From the start to the end of a server whose classifier is served elsewhere."""

import http.client
import json
import socket
import threading
import time

import numpy as np
import pytest

INFER = "/v2/models/m/infer"
IMAGE = np.zeros((1, 32, 32, 3), np.uint8)


def takes(datatype, *shape):
    return [{"name": "pixels", "datatype": datatype, "shape": list(shape)}]


@pytest.fixture
def run(spawn):
    """Start a server in front of an upstream, with flags as KServe's controller writes them."""

    def begin(host, *options, ready=True):
        flags = ["--model_name", "m", f"--predictor_host={host}", "--predictor_protocol", "v2"]
        return spawn(*flags, "--defense", "none", *options, ready=ready)

    return begin


def post(server, sent):
    return server.ask(INFER, sent["content"], sent["headers"])


def test_the_server_is_ready_once_the_upstream_is(run, make_stub, binary):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    server = run(f"127.0.0.1:{port}", ready=False)
    server.wait_until(lambda: "Waiting for m on " in server.log)
    server.wait_until(server.is_listening)
    assert server.ask("/healthz").status == 200
    assert server.ask("/v2/health/live").status == 200
    for path in ("/readyz", "/v2/health/ready", "/v2/models/m/ready"):
        assert server.ask(path).status == 503
    answer = post(server, binary(IMAGE))
    assert (answer.status, list(json.loads(answer.content))) == (503, ["error"])
    asked = []
    stub = make_stub(port, lambda path: asked.append(path) or (404, {}))
    server.wait_until(lambda: len(asked) > 2)
    assert "it answers /v2/models/m/ready with status 404" in server.log
    assert server.ask("/readyz").status == 503
    stub.get = stub.usual
    server.wait_until(server.is_ready)
    assert post(server, binary(IMAGE)).status == 200
    assert "Forwarding to m on " in server.log
    assert server.log.count("Waiting for m on ") == 2, "a line for each reason, not for each try"


def test_the_server_ends_while_it_waits_for_the_upstream(run):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server = run(f"127.0.0.1:{silent.getsockname()[1]}", ready=False)
        connection, _ = silent.accept()
        server.signal()
        assert server.exit_code() == 0
        connection.close()


def test_the_server_ends_if_the_upstream_takes_no_images(run, stub):
    stub.inputs = takes("FP64", -1, 10)
    server = run(stub.host, ready=False)
    assert server.exit_code() == 1
    assert "The upstream takes FP64 of shape [-1, 10]. " in server.log
    assert "--predictor-manifest" in server.log
    assert "Traceback" not in server.log


def test_a_client_that_leaves_ends_the_upstream_s_work(run, stub, binary):
    begun, left = threading.Event(), threading.Event()

    def do(handler, _):
        begun.set()
        if handler.connection.recv(1) == b"":
            left.set()
        handler.close_connection = True

    stub.do = do
    server, sent = run(stub.host), binary(IMAGE)
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    connection.request("POST", INFER, sent["content"], sent["headers"])
    assert begun.wait(60)
    assert server.metric("warpguard_in_flight_images") == 1
    connection.close()
    assert left.wait(60)
    server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 0)
    assert len(stub.received) == 1


def test_requests_at_work_are_answered_before_the_end(run, stub, binary):
    begun, over = threading.Event(), threading.Event()

    def do(handler, _):
        begun.set()
        over.wait(60)
        handler.answer(200, {"outputs": []})

    stub.do = do
    server, answers = run(stub.host), []
    asking = threading.Thread(target=lambda: answers.append(post(server, binary(IMAGE))))
    asking.start()
    assert begun.wait(60)
    server.signal()
    server.wait_until(lambda: not server.is_listening())
    over.set()
    asking.join()
    assert answers[0].status == 200
    assert server.exit_code() == 0


def test_the_upstream_s_work_is_a_part_of_the_trace(run, stub, binary):
    server = run(stub.host, "--otel-endpoint", f"http://{stub.host}")
    trace, caller = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    sent = binary(IMAGE)
    sent["headers"]["traceparent"] = f"00-{trace}-{caller}-01"
    assert post(server, sent).status == 200
    (request,) = [each for each in stub.received if each.path == INFER]
    version, same_trace, parent, flags = request.headers["traceparent"].split("-")
    assert (version, same_trace, flags) == ("00", trace, "01")
    assert parent != caller
    server.signal()
    assert server.exit_code() == 0
    spans = b"".join(each.body for each in stub.received if each.path == "/v1/traces")
    assert bytes.fromhex(parent) in spans


@pytest.mark.parametrize(
    ("get", "message"),
    [
        ((404, {}), "status 404"),
        ((200, b"<html>"), "status 200, and not with a JSON object"),
        ((200, []), "not with a JSON object"),
    ],
)
def test_an_upstream_of_another_protocol_is_an_error(front, stub, get, message):
    stub.get = lambda path: stub.usual(path) if path.endswith("/ready") else get
    assert message in str(failure(front(wait=False)))


def test_a_defence_that_does_not_fit_the_upstream_is_an_error(front, stub):
    client = front(wait=False, defense="rdg(cell=33)")
    assert "32" in str(failure(client))


def test_the_server_waits_for_the_upstream_s_metadata(front, stub):
    troubles = iter([(503, {}), (500, {})])

    def get(path):
        answer = stub.usual(path)
        return answer if path.endswith("/ready") else next(troubles, answer)

    stub.get = get
    assert front().get("/readyz").status_code == 200


def failure(client):
    give_up = time.monotonic() + 60
    while client.app.state.backend.failure is None:
        assert time.monotonic() < give_up
        time.sleep(0.01)
    return client.app.state.backend.failure


def test_a_reload_learns_the_upstream_s_input_again(front, stub, binary):
    client, load = front(allow_load=True), "/v2/repository/models/m/load"
    stub.inputs = takes("FP32", -1, 3, 16, 16)
    assert client.post(INFER, **binary(IMAGE)).status_code == 200
    assert client.post(load).status_code == 200
    assert client.post(INFER, **binary(IMAGE)).status_code == 200
    assert [request.tensor.shape for request in stub.received] == [(1, 32, 32, 3), (1, 3, 16, 16)]
    stub.inputs = takes("FP64", -1)
    assert client.post(load).status_code == 503
    assert client.post(INFER, **binary(IMAGE)).status_code == 200
    stub.stop()
    assert client.post(load).status_code == 503
    assert client.post("/v2/repository/models/other/load").status_code == 404


def test_a_thread_that_dies_makes_the_server_not_ready_until_a_reload(
    front, stub, binary, monkeypatch
):
    client = front(allow_load=True)

    def die(*_):
        raise SystemExit("the fault")

    with monkeypatch.context() as patch:
        patch.setattr("service.transformer.input_spec.InputSpec.fit", die)
        answer = client.post(INFER, **binary(IMAGE))
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.json() == {"error": "The server has failed; its log says why."}
    assert client.post(INFER, **binary(IMAGE)).status_code == 503
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").status_code == 200
    assert "warpguard_ready 0.0" in client.get("/metrics").text
    assert stub.received == []
    assert client.post("/v2/repository/models/m/load").status_code == 200
    assert client.get("/readyz").status_code == 200
    assert client.post(INFER, **binary(IMAGE)).status_code == 200
    assert "warpguard_ready 1.0" in client.get("/metrics").text
