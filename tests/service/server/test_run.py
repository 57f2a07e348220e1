"""The service in a process of its own, with the embedded model."""

import http.client
import json
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

PHOTOGRAPHS = sorted((Path(find_spec("foolbox").origin).parent / "data").glob("imagenet_*.jpg"))


def ask(port, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
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
    right = {"fd+rdg": 0, "none": 0}
    for photograph in PHOTOGRAPHS:
        label = int(photograph.stem.rpartition("_")[2])
        for defense in right:
            path = f"/v1/predict?defense={defense}&draws=8"
            status, content = ask(port, path, photograph.read_bytes())
            assert status == 200
            answer = json.loads(content)
            assert answer["model"] == "efficientnet-lite2"
            right[defense] += answer["predictions"][0]["index"] == label
    assert right["none"] >= 17
    assert right["fd+rdg"] >= 15


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


def test_sigterm_ends_it_in_order(serve):
    process, port = serve()
    assert ask(port, "/readyz")[0] == 200
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 0, errors
    assert "Serving efficientnet-lite2 on CPUExecutionProvider behind fd+rdg" in errors
    assert "Traceback" not in errors


def test_a_device_that_does_not_work_is_an_error_and_no_silent_fall_back():
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", "0", "--device", "cuda"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode == 0:
        pytest.fail("this test is for machines without a GPU")
    assert done.returncode == 1
    assert "'cuda' was asked for" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(open_server):
    _, port = open_server
    done = subprocess.run(
        [sys.executable, "-m", "service", "serve", "--port", str(port)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "address already in use" in done.stderr


def test_serving_needs_no_torch():
    code = "import sys, service.server.run; print('torch' in sys.modules, 'keras' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
