"""In front of a real server of another project: KServe's model server."""

import json
import socket
import subprocess
import threading
from pathlib import Path

import numpy as np
import pytest

HERE = Path(__file__).parent
PYTHON = Path(__file__).parents[3] / ".venv-clients" / "bin" / "python"
RED_AND_BLUE = [[220, 20, 20], [20, 20, 220]]


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    """Gives a function that starts it on a port, and the list of the processes."""
    assert PYTHON.exists(), "make test sets up KServe's environment"
    log = tmp_path_factory.mktemp("kserve") / "log"
    started = []

    def start(port):
        with log.open("a") as stream:
            command = [PYTHON, HERE / "kserve_server.py", "--http_port", str(port)]
            process = subprocess.Popen(command, stdout=stream, stderr=stream)
        started.append(process)

    yield start, started
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def port(kserve):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        free = probe.getsockname()[1]
    start, _ = kserve
    start(free)
    return free


@pytest.fixture
def run(port, spawn):
    """Start warpguard in front of it, with flags as KServe's controller writes them."""

    def begin(model, *options):
        flags = [f"--model_name={model}", f"--predictor_host=127.0.0.1:{port}"]
        return spawn(*flags, "--defense", "none", *options)

    return begin


def ask(server, model, *clients):
    """The answers that some clients get."""
    address = f"127.0.0.1:{server.port}"
    done = subprocess.run(
        [PYTHON, "-W", "error", HERE / "stock_clients.py", address, model, *clients],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr + server.log
    return json.loads(done.stdout)


def test_stock_clients_are_served_over_v2(run):
    server = run("pixels")
    assert ask(server, "pixels", "triton", "kserve_v2") == [RED_AND_BLUE, RED_AND_BLUE]


def test_a_stock_client_is_served_over_v1(run):
    server = run("pixels", "--predictor_protocol", "v1")
    assert ask(server, "pixels", "kserve_v1") == [RED_AND_BLUE]


@pytest.mark.parametrize("model", ["pixels", "scaled", "files"])
@pytest.mark.parametrize("as_file", [False, True])
def test_every_kind_of_input_is_classified(start, port, binary, make_photograph, model, as_file):
    client = start(predictor_host=f"127.0.0.1:{port}", model_name=model, defense="fd+rdg")
    pixels = np.stack([np.full((32, 32, 3), colour, np.uint8) for colour in RED_AND_BLUE])
    files = [make_photograph(colour, (32, 32), noise=0) for colour in ("red", "blue")]
    sent = binary(files=files) if as_file else binary(pixels)
    answer = client.post(f"/v2/models/{model}/infer", **sent)
    assert answer.status_code == 200, answer.text
    (output,) = answer.json()["outputs"]
    means = np.array(output["data"]).reshape(2, 3) * (255 if model == "scaled" else 1)
    np.testing.assert_allclose(means, RED_AND_BLUE, atol=12)  # feature distillation's rounding
    assert answer.json()["model_name"] == model


def test_errors_are_kserve_s_own(start, port, binary):
    client = start(predictor_host=f"127.0.0.1:{port}", model_name="scaled", defense="none")
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    answer = client.post("/v2/models/scaled/versions/2/infer", **binary(pixels))
    assert answer.status_code == 501
    assert answer.json() == {"error": "Model versioning not supported yet."}


def test_a_killed_upstream_is_used_again_once_it_is_back(run, kserve, port, binary):
    server, (start, started) = run("pixels"), kserve
    pixels = np.zeros((1, 32, 32, 3), np.uint8)
    slow, answers = binary(pixels, parameters={"sleep_s": 600}), []

    def infer(sent):
        return server.ask("/v2/models/pixels/infer", sent["content"], sent["headers"])

    waiting = threading.Thread(target=lambda: answers.append(infer(slow)))
    waiting.start()
    server.wait_until(lambda: server.metric("warpguard_in_flight_images") == 1)
    server.wait_until(lambda: server.metric('warpguard_stage_seconds_count{stage="receive"}') == 1)
    started[-1].kill()
    waiting.join()
    assert answers[0].status == 503
    assert answers[0].headers["retry-after"] == "1"
    assert "cannot be reached" in json.loads(answers[0].content)["error"]
    assert server.ask("/readyz").status == 503
    assert infer(binary(pixels)).status == 503
    start(port)
    server.wait_until(server.is_ready)
    assert infer(binary(pixels)).status == 200
