"""The service in a process of its own, with the embedded model."""

import http.client
import json
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from pathlib import Path

import pytest

PHOTOGRAPHS = sorted((Path(find_spec("foolbox").origin).parent / "data").glob("imagenet_*.jpg"))


def ask(port, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    connection.request("GET" if body is None else "POST", path, body)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer.status, content


@pytest.fixture(scope="module")
def open_server(serve):
    return serve("--allow-defense", "none")


def test_photographs_are_recognised_behind_the_defence(open_server):
    _, port = open_server

    def is_right(query, photograph):
        label = int(photograph.stem.rpartition("_")[2])
        status, content = ask(port, f"/v1/predict?{query}", photograph.read_bytes())
        assert status == 200
        answer = json.loads(content)
        assert answer["model"] == "efficientnet-lite2"
        return answer["predictions"][0]["index"] == label

    with ThreadPoolExecutor(2) as pool:
        for query, at_least in (("defense=none", 17), ("defense=fd%2Brdg&draws=4", 15)):
            right = sum(pool.map(lambda each, q=query: is_right(q, each), PHOTOGRAPHS))
            assert right >= at_least, query


def test_equal_requests_get_different_answers(open_server):
    _, port = open_server
    body = PHOTOGRAPHS[0].read_bytes()
    answers = {
        json.loads(ask(port, "/v1/predict", body)[1])["predictions"][0]["probability"]
        for _ in range(4)
    }
    assert len(answers) == 4
    images = {ask(port, "/v1/defend", body)[1] for _ in range(3)}
    assert len(images) == 3
    undefended = {
        json.loads(ask(port, "/v1/predict?defense=none", body)[1])["predictions"][0]["probability"]
        for _ in range(2)
    }
    assert len(undefended) == 1


def test_sigterm_ends_the_server_in_order(serve):
    process, port = serve()
    assert ask(port, "/readyz")[0] == 200
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "Serving efficientnet-lite2 on CPUExecutionProvider behind fd+rdg" in errors
    assert "Traceback" not in errors


def test_a_device_that_does_not_work_is_an_error_and_not_a_silent_fall_back():
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--device", "cuda"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1, "this test is for machines without a GPU"
    assert "'cuda' was asked for" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken_is_an_error(open_server):
    _, port = open_server
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 1
    assert "address already in use" in done.stderr
    lines = map(json.loads, done.stderr.splitlines())
    *_, last = (line for line in lines if line["level"] != "info")
    assert last["level"] == "critical"
    assert f"cannot listen on port {port} of 127.0.0.1" in last["message"]
    assert "another port with --port;" in last["message"]
    assert "uvicorn.error" not in done.stderr


def test_serving_needs_no_torch():
    code = "import sys, service.server.run; print('torch' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
