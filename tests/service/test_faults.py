"""What goes wrong around a server in a process of its own, and what becomes of its requests."""

import http.client
import json
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from models import Store

PREDICT = "/v1/predict"
BATCHES = "warpguard_batch_images_count"


def code(answer):
    assert answer.getheader("content-type") == "application/json", answer.content
    return json.loads(answer.content)["error"]["code"]


@contextmanager
def load(server, body, clients=4):
    """Clients that ask again and again, each on one connection; gives what they were answered."""
    answers, stop = [], threading.Event()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)
        while not stop.is_set():
            try:
                connection.request("POST", PREDICT, body)
                answer = connection.getresponse()
                answers.append((answer.status, answer.read()))
            except OSError as error:
                answers.append((repr(error), b""))
                connection.close()
        connection.close()

    threads = [threading.Thread(target=ask) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join()


@pytest.fixture
def asking():
    """Send requests at once, each from a thread of its own; gives futures of their answers."""
    with ThreadPoolExecutor(32) as pool:
        yield lambda server, count, body, path=PREDICT: [
            pool.submit(server.ask, path, body) for _ in range(count)
        ]


def test_sigterm_with_requests_in_flight_answers_all_of_them(spawn, asking, make_photograph):
    server = spawn("--inference-streams", "1", fault="slow", SLOW_S="0.5")
    answers = asking(server, 8, make_photograph())
    server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 8)
    server.signal()
    assert [answer.result().status for answer in answers] == [200] * 8
    assert server.exit_code() == 0
    assert "Traceback" not in server.log


def test_while_it_waits_for_the_balancer_it_serves_but_is_not_ready(spawn, make_photograph):
    server = spawn("--drain-delay-seconds", "5")
    server.signal()
    signalled = time.monotonic()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    assert time.monotonic() - signalled < 0.5
    assert server.metric("warpguard_ready") == 0
    assert server.ask("/healthz").status == 200
    assert server.ask(PREDICT, make_photograph()).status == 200
    assert server.exit_code() == 0
    assert 5.0 <= time.monotonic() - signalled < 6.5


def test_while_it_waits_it_ends_connections_with_their_next_answer(spawn, make_photograph):
    """Closing them without a word would fail a request that is on its way."""
    server = spawn("--drain-delay-seconds", "20")
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)

    def ask():
        connection.request("POST", PREDICT, make_photograph())
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("connection")

    assert ask() == (200, None)
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    assert ask() == (200, "close")
    assert ask() == (200, "close")  # on another one
    connection.close()


def test_a_reload_while_it_waits_makes_it_not_ready_again(spawn):
    server = spawn("--drain-delay-seconds", "1")
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log.count("Serving colours") == 2)
    assert server.ask("/readyz").status == 503
    assert server.metric("warpguard_ready") == 0
    assert server.exit_code() == 0


def test_a_second_signal_ends_the_wait(spawn):
    server = spawn("--drain-delay-seconds", "20")
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    server.signal()
    assert server.exit_code(3) == 0


def test_a_model_that_hangs_is_left_behind_at_the_signal(spawn, asking, make_photograph):
    server = spawn("--drain-seconds", "1", fault="hang")
    (answer,) = asking(server, 1, make_photograph())
    server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 1)
    server.signal()
    signalled = time.monotonic()
    assert server.exit_code(3) == 0
    assert time.monotonic() - signalled < 2
    assert (answer.result().status, code(answer.result())) == (503, "not_ready")


@pytest.mark.parametrize("fault", ["hang-warming", "hang-reloading"])
def test_a_load_that_hangs_is_left_behind_at_the_signal(spawn, fault):
    server = spawn("--drain-seconds", "1", fault=fault, ready=False)
    server.wait_until(lambda: "running on" in server.log)
    if fault == "hang-reloading":
        server.wait_until(server.is_ready)
        server.signal(signal.SIGHUP)
        time.sleep(0.1)
        assert server.is_ready()
    server.signal()
    assert server.exit_code(3) == 0


def test_a_model_that_hung_and_was_replaced_is_left_behind_too(spawn, make_photograph):
    server = spawn("--drain-seconds", "1", "--deadline-ms", "100", fault="hang")
    answer = server.ask(PREDICT, make_photograph())
    assert (answer.status, code(answer)) == (504, "deadline_exceeded")
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log.count("Serving colours") == 2)
    server.signal()
    assert server.exit_code(3) == 0


def test_reloads_under_load_fail_no_request(spawn, make_photograph):
    server = spawn(fault="slow", SLOW_S="0.002")
    with load(server, make_photograph()) as answers:
        for number in range(2, 7):
            server.signal(signal.SIGHUP)
            server.wait_until(lambda n=number: server.log.count("Serving colours") == n)
            before = len(answers)
            server.wait_until(lambda n=before: len(answers) > n + 8)
    assert {status for status, _ in answers} == {200}
    assert all(json.loads(content)["model"] == "colours" for _, content in answers)
    server.signal()
    assert server.exit_code() == 0
    assert "Traceback" not in server.log


@pytest.mark.parametrize("damage", ["truncated", "no graph", "no store", "another's"])
def test_a_damaged_new_model_leaves_the_old_one(spawn, tmp_path, colour_store, damage):
    manifest, graph = Store(colour_store).get("colours")
    store = Store(tmp_path / "store")
    store.put(manifest, graph)
    server = spawn("--store", str(store.root), "--model", "colours", "--allow-load")
    (path,) = (store.root / "graphs").iterdir()
    if damage == "truncated":
        path.write_bytes(graph[:-20])
    elif damage == "no graph":
        store.put(manifest, b"no graph at all")
    elif damage == "no store":
        store.root.rename(tmp_path / "elsewhere")
    else:
        store.put(manifest.model_copy(update={"labels": ("cat", "dog")}), graph)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: "The model was not reloaded; the previous one goes on." in server.log)
    answer = server.ask("/v2/repository/models/colours/load", b"{}")
    assert answer.status == 503
    assert "the previous one goes on" in json.loads(answer.content)["error"]
    assert server.ask("/readyz").status == 200
    assert server.metric("warpguard_ready") == 1
    server.signal()
    assert server.exit_code() == 0


def test_a_model_truncated_in_the_store_is_told_and_never_served(spawn, tmp_path, colour_store):
    manifest, graph = Store(colour_store).get("colours")
    store = Store(tmp_path / "store")
    store.put(manifest, graph)
    (path,) = (store.root / "graphs").iterdir()
    path.write_bytes(graph[: len(graph) // 2])
    server = spawn("--store", str(store.root), "--model", "colours", ready=False)
    assert server.exit_code(10) == 1
    assert "is damaged" in server.log
    assert "warpguard models remove colours" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("fault", ["decode-raises", "defend-raises"])
def test_a_worker_that_raises_is_one_request_s_error(spawn, make_photograph, fault):
    server = spawn(fault=fault)
    for route in (PREDICT, "/v1/defend"):
        answer = server.ask(route, make_photograph())
        assert (answer.status, code(answer)) == (503, "inference_failed")
        assert b"secret" not in answer.content
        assert server.ask(route, make_photograph()).status == 200
    assert "RuntimeError: /secret/path" in server.log


def test_a_worker_that_raises_is_one_file_s_error(spawn, make_photograph):
    server = spawn("--preprocess-threads", "1", fault="defend-raises")
    boundary = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    body = (part + make_photograph() + b"\r\n") * 2 + b"--b--\r\n"
    answer = server.ask(PREDICT, body, boundary)
    assert answer.status == 200
    bad, good = json.loads(answer.content)["results"]
    assert bad["error"]["code"] == "inference_failed"
    assert good["prediction"]["predictions"][0]["label"] == "red"


def test_a_client_that_leaves_in_the_middle_of_its_body(spawn, make_photograph):
    server = spawn()
    for sent in (b"", b"\x89PNG", make_photograph()[:500]):
        with server.connect() as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
            connection.sendall(head.encode() + sent)
            time.sleep(0.05)
    left = f'warpguard_requests_total{{route="{PREDICT}",status="499"}}'
    server.wait_until(lambda: server.metric(left) == 3)
    assert server.metric(BATCHES) == 0
    assert server.metric("warpguard_in_flight_images") == 0
    assert server.ask(PREDICT, make_photograph()).status == 200
    assert "Traceback" not in server.log


def test_a_client_that_leaves_takes_its_queued_work_along(spawn, make_photograph):
    server = spawn(
        "--inference-streams", "1", "--preprocess-threads", "1", fault="slow", SLOW_S="2"
    )
    body = make_photograph()
    head = f"POST {PREDICT}?draws=4 HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.sendall(head.encode() + body)
    server.wait_until(lambda: server.metric("warpguard_queued_images") == 19)
    for connection in connections:
        connection.close()
    server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 0)
    assert server.metric("warpguard_queued_images") == 0
    assert server.ask(PREDICT, body).status == 200
    assert server.metric(BATCHES) == 2  # the one that ran, and the one that was waited for
    server.signal()
    assert server.exit_code() == 0


def test_a_store_that_cannot_be_written_stops_no_embedded_model(spawn, tmp_path, make_photograph):
    (tmp_path / "file").write_text("")
    server = spawn("--store", str(tmp_path / "file"), ready=False)
    server.wait_until(server.is_ready, 60)
    assert "Using efficientnet-lite2 without storing it" in server.log
    assert server.ask(PREDICT, make_photograph()).status == 200
