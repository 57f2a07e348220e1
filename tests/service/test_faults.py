"""What goes wrong around a server in a process of its own, and how its requests are answered."""

import http.client
import json
import signal
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from models import Store

PREDICT = "/v1/predict"
BATCHES = "warpguard_batch_images_count"
IN_FLIGHT = "warpguard_in_flight_images"
PATIENT = ("--deadline-ms", "600000", "--drain-seconds", "600")
"""Options of a server that gives up nothing while a test lasts."""


def error_of(answer):
    """The status and the code of an error."""
    assert answer.getheader("content-type") == "application/json", answer.content
    return answer.status, json.loads(answer.content)["error"]["code"]


@contextmanager
def load(server, body, clients=4):
    """Clients that ask again and again, each on one connection; gives the list of the answers."""
    answers, stop = [], threading.Event()

    def ask():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
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
    """Send requests at once, each from a thread of its own; gives the futures of their answers."""
    with ThreadPoolExecutor(32) as pool:
        yield lambda server, count, body, path=PREDICT: [
            pool.submit(server.ask, path, body) for _ in range(count)
        ]


def test_sigterm_with_requests_in_flight_answers_all_of_them(spawn, asking, make_photograph):
    server = spawn("--inference-streams", "1", *PATIENT, fault="held")
    answers = asking(server, 8, make_photograph())
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 8)
    server.signal()
    server.wait_until(lambda: not server.is_listening())
    server.signal(signal.SIGUSR1)
    assert [answer.result().status for answer in answers] == [200] * 8
    assert server.exit_code() == 0
    assert "Traceback" not in server.log


def test_during_the_drain_delay_the_server_serves_but_is_not_ready(spawn, make_photograph):
    server = spawn("--drain-delay-seconds", "600", *PATIENT)
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    assert server.metric("warpguard_ready") == 0
    assert server.ask("/healthz").status == 200
    assert server.ask(PREDICT, make_photograph()).status == 200
    server.signal()  # a second signal ends the delay
    assert server.exit_code() == 0


def test_the_server_ends_by_itself_after_the_drain_delay(spawn):
    server = spawn("--drain-delay-seconds", "1")
    server.signal()
    assert server.exit_code() == 0


def test_during_the_drain_delay_connections_end_with_their_next_answer(spawn, make_photograph):
    """Closing them at once would fail a request that is on its way."""
    server = spawn("--drain-delay-seconds", "600", *PATIENT)
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def ask():
        connection.request("POST", PREDICT, make_photograph())
        answer = connection.getresponse()
        answer.read()
        return answer.status, answer.getheader("connection")

    assert ask() == (200, None)
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    assert ask() == (200, "close")
    assert ask() == (200, "close")  # on a new connection
    connection.close()


def test_a_reload_during_the_drain_delay_does_not_make_the_server_ready_again(spawn):
    server = spawn("--drain-delay-seconds", "600", *PATIENT)
    server.signal()
    server.wait_until(lambda: server.ask("/readyz").status == 503)
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log.count("Serving colours") == 2)
    assert server.ask("/readyz").status == 503
    assert server.metric("warpguard_ready") == 0
    server.signal()
    assert server.exit_code() == 0


def test_a_model_that_hangs_does_not_keep_the_server_from_ending(spawn, asking, make_photograph):
    server = spawn("--drain-seconds", "1", "--deadline-ms", "600000", fault="held")
    (answer,) = asking(server, 1, make_photograph())
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 1)
    server.signal()
    assert server.exit_code() == 0
    assert error_of(answer.result()) == (503, "not_ready")


@pytest.mark.parametrize("fault", ["hang-warming", "hang-reloading"])
def test_a_load_that_hangs_does_not_keep_the_server_from_ending(spawn, fault):
    server = spawn("--drain-seconds", "1", fault=fault, ready=False)
    server.wait_until(lambda: "running on" in server.log)
    if fault == "hang-reloading":
        server.wait_until(server.is_ready)
        server.signal(signal.SIGHUP)
    server.wait_until(lambda: "faulty.py hangs" in server.log)
    assert server.is_ready() == (fault == "hang-reloading")
    server.signal()
    assert server.exit_code() == 0


def test_a_replaced_model_that_hangs_does_not_keep_the_server_from_ending(spawn, make_photograph):
    server = spawn("--drain-seconds", "1", "--deadline-ms", "100", fault="held")
    answer = server.ask(PREDICT, make_photograph())
    assert error_of(answer) == (504, "deadline_exceeded")
    server.signal(signal.SIGHUP)
    server.wait_until(lambda: server.log.count("Serving colours") == 2)
    server.signal()
    assert server.exit_code() == 0


def test_reloads_that_are_asked_for_at_once_are_done_once(spawn, asking):
    server = spawn("--allow-load")
    loads = asking(server, 24, b"{}", "/v2/repository/models/colours/load")
    for _ in range(50):
        server.signal(signal.SIGHUP)
    assert {answer.result().status for answer in loads} == {200}
    assert server.ask("/v2/repository/models/colours/load", b"{}").status == 200
    # Those that came while a load ran shared the next one, and they came in a few moments.
    assert server.log.count("Serving colours") < 24


def test_a_thread_that_dies_makes_the_server_not_ready_until_a_reload(
    spawn, asking, make_photograph
):
    options = ("--inference-streams", "1", "--log-format", "json", *PATIENT)
    server, body = spawn(*options, fault="thread-dies"), make_photograph()
    answers = asking(server, 4, body)  # one is in the model, three wait
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 4 and server.metric(BATCHES) == 1)
    server.signal(signal.SIGUSR1)
    for answer in answers:
        assert error_of(answer.result()) == (503, "not_ready")
        assert b"its log says why" in answer.result().content
    for route in (PREDICT, "/v1/defend"):
        answer = server.ask(route, body)
        assert error_of(answer) == (503, "not_ready")
        assert answer.getheader("retry-after") == "1"
    assert error_of(server.ask("/readyz")) == (503, "not_ready")
    assert server.ask("/v2/health/ready").status == 503
    assert server.ask("/healthz").status == 200
    assert server.metric("warpguard_ready") == 0
    assert server.metric(IN_FLIGHT) == 0
    entries = [json.loads(line) for line in server.log.splitlines()]
    (critical,) = [entry for entry in entries if entry["level"] == "critical"]
    assert critical["message"] == "A computing thread died; this server is not ready"
    assert critical["exception"].endswith("SystemExit: the fault")

    server.signal(signal.SIGHUP)
    server.wait_until(server.is_ready)
    assert server.metric("warpguard_ready") == 1
    assert server.ask(PREDICT, body).status == 200
    server.signal()
    assert server.exit_code() == 0


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


@pytest.mark.parametrize("damage", ["truncated", "not a graph", "no store", "another model's"])
def test_a_damaged_new_model_leaves_the_previous_one(spawn, tmp_path, colour_store, damage):
    manifest, graph = Store(colour_store).get("colours")
    store = Store(tmp_path / "store")
    store.put(manifest, graph)
    server = spawn("--store", str(store.root), "--model", "colours", "--allow-load")
    (path,) = (store.root / "graphs").iterdir()
    if damage == "truncated":
        path.write_bytes(graph[:-20])
    elif damage == "not a graph":
        store.put(manifest, b"no graph at all")
    elif damage == "no store":
        store.root.rename(tmp_path / "elsewhere")
    else:
        store.put(manifest.model_copy(update={"labels": ("cat", "dog")}), graph)
    server.signal(signal.SIGHUP)
    reported = "The model was not reloaded; the previous one goes on."
    server.wait_until(lambda: reported in server.log)
    answer = server.ask("/v2/repository/models/colours/load", b"{}")
    assert answer.status == 503
    assert json.loads(answer.content)["error"] == (
        "The new model cannot be loaded; the previous one goes on."
    )
    assert server.ask("/readyz").status == 200
    assert server.metric("warpguard_ready") == 1
    server.signal()
    assert server.exit_code() == 0


def test_a_model_truncated_in_the_store_is_reported_and_never_served(spawn, tmp_path, colour_store):
    manifest, graph = Store(colour_store).get("colours")
    store = Store(tmp_path / "store")
    store.put(manifest, graph)
    (path,) = (store.root / "graphs").iterdir()
    path.write_bytes(graph[: len(graph) // 2])
    server = spawn("--store", str(store.root), "--model", "colours", ready=False)
    assert server.exit_code() == 1
    assert "is damaged" in server.log
    assert "warpguard models remove colours" in server.log
    assert "Traceback" not in server.log


@pytest.mark.parametrize("fault", ["decode-raises", "defend-raises"])
def test_an_image_that_cannot_be_prepared_fails_one_request(spawn, make_photograph, fault):
    server = spawn(fault=fault)
    for route in (PREDICT, "/v1/defend"):
        answer = server.ask(route, make_photograph())
        assert error_of(answer) == (503, "inference_failed")
        assert b"secret" not in answer.content
        assert server.ask(route, make_photograph()).status == 200
    assert "RuntimeError: /secret/path" in server.log


def test_an_image_that_cannot_be_prepared_fails_one_file_of_a_form(spawn, make_photograph):
    server = spawn("--preprocess-threads", "1", fault="defend-raises")
    boundary = {"content-type": "multipart/form-data; boundary=b"}
    part = b'--b\r\ncontent-disposition: form-data; name="files"; filename="a"\r\n\r\n'
    body = (part + make_photograph() + b"\r\n") * 2 + b"--b--\r\n"
    answer = server.ask(PREDICT, body, boundary)
    assert answer.status == 200
    bad, good = json.loads(answer.content)["results"]
    assert bad["error"]["code"] == "inference_failed"
    assert good["prediction"]["predictions"][0]["label"] == "red"


def test_a_client_that_leaves_in_the_middle_of_its_body_costs_nothing(spawn, make_photograph):
    server = spawn()
    left = f'warpguard_requests_total{{route="{PREDICT}",status="499"}}'
    for count, sent in enumerate((b"", b"\x89PNG", make_photograph()[:500]), 1):
        with server.connect() as connection:
            head = f"POST {PREDICT} HTTP/1.1\r\nhost: x\r\ncontent-length: 100000\r\n\r\n"
            connection.sendall(head.encode() + sent)
        server.wait_until(lambda n=count: server.metric(left) == n)
    assert server.metric(BATCHES) == 0
    assert server.metric(IN_FLIGHT) == 0
    assert server.ask(PREDICT, make_photograph()).status == 200
    assert "Traceback" not in server.log


def test_the_queued_work_of_clients_that_leave_is_not_done(spawn, make_photograph):
    options = ("--inference-streams", "1", "--preprocess-threads", "1", *PATIENT)
    server, body = spawn(*options, fault="held"), make_photograph()
    head = f"POST {PREDICT}?draws=4 HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n"
    connections = [server.connect() for _ in range(5)]
    for connection in connections:
        connection.sendall(head.encode() + body)
    server.wait_until(lambda: server.metric("warpguard_queued_images") == 19)
    for connection in connections:
        connection.close()
    server.wait_until(lambda: server.metric(IN_FLIGHT) == 0)
    assert server.metric("warpguard_queued_images") == 0
    server.signal(signal.SIGUSR1)
    assert server.ask(PREDICT, body).status == 200
    assert server.metric(BATCHES) == 2  # the one that ran already, and this request's
    server.signal()
    assert server.exit_code() == 0


def test_an_embedded_model_is_served_though_the_store_cannot_be_written(
    spawn, tmp_path, make_photograph
):
    (tmp_path / "file").write_text("")
    server = spawn("--store", str(tmp_path / "file"))
    assert "Using efficientnet-lite2 without storing it" in server.log
    assert server.ask(PREDICT, make_photograph()).status == 200
