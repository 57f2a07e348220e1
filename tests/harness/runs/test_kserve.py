"""Attacks on a real server of another project: KServe's, alone and behind warpguard."""

import json
import re
import socket
import subprocess
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from pathlib import Path

import httpx2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from harness.cli.main import main
from harness.endpoint import OipTarget
from models import Manifest, Store

PYTHON = Path(__file__).parents[3] / ".venv-clients" / "bin" / "python"
COLOURS = {"red": (140, 120, 120), "blue": (120, 120, 140)}
MANIFEST = {
    "name": "colours",
    "input": {"name": "input", "layout": "NCHW", "height_px": 16, "width_px": 16},
    "output": {"name": "logits", "kind": "logits"},
    "scaling": {"mean": [127.5] * 3, "std": [127.5] * 3},
    "labels": ["red", "green", "blue"],
}


@pytest.fixture(scope="module")
def kserve(tmp_path_factory):
    """The address of KServe's server."""
    assert PYTHON.exists(), "make test sets up KServe's environment"
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path_factory.mktemp("kserve") / "log"
    script = Path(__file__).with_name("kserve_server.py")
    with log.open("w") as stream:
        command = [PYTHON, script, "--http_port", str(port)]
        process = subprocess.Popen(command, stdout=stream, stderr=stream)
    while not is_ready(port):
        assert process.poll() is None, log.read_text()
    yield f"127.0.0.1:{port}"
    process.kill()
    process.wait()


def is_ready(port):
    try:
        return httpx2.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=60).is_success
    except httpx2.HTTPError:
        return False


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Two photographs with their labels, and the attacker's own copy of the model."""
    folder = tmp_path_factory.mktemp("colours")
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Mul", ["flat", "fifteen"], ["logits"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([15], np.float32), "fifteen")],
    )
    opset = helper.make_opsetid("", 17)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=8), folder / "own.onnx")
    (folder / "own.json").write_text(json.dumps(MANIFEST))
    for name, colour in COLOURS.items():
        noise = np.random.default_rng(0).normal(colour, 30, (16, 16, 3)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(folder / f"{name}.png")
    (folder / "labels.csv").write_text("file,label\nred.png,0\nblue.png,2\n")
    return folder


@pytest.fixture
def attack(folder, tmp_path):
    """Run an attack with flags; returns the exit code, what was printed, and the run's record."""

    def run(attack, url, *flags, out=tmp_path / "run"):
        command = ["run", attack, "--endpoint", url, "--protocol", "oip", "--out", str(out)]
        command += ["--data", str(folder), "--scoring-draws", "2", "--sanity-images", "1"]
        printed = StringIO()
        with redirect_stdout(printed), redirect_stderr(printed):
            code = main([*command, *flags])
        file = out / "run.json"
        record = json.loads(file.read_text()) if file.exists() else None
        return code, " ".join(printed.getvalue().split()), record

    return run


@pytest.fixture
def own(folder):
    """The options that name the attacker's own copy."""
    return "--model", str(folder / "own.onnx"), "--manifest", str(folder / "own.json")


def endpoint_check(run):
    return next(check for check in run["checks"] if check["name"] == "endpoint")


def asr(run):
    successes = [
        [answer == image["target"] for answer in image["scores"][-1]["classes"]]
        for image in run["images"]
    ]
    return np.mean(successes)


@pytest.mark.parametrize("model", ["scaled", "pixels", "files", "undescribed"])
def test_each_kind_of_input_gets_the_same_answers(kserve, folder, model):
    images = [np.asarray(Image.open(folder / f"{name}.png")) for name in COLOURS]
    manifest = Manifest.read(folder / "own.json")
    logits = [15 * (image.mean(axis=(0, 1)) / 127.5 - 1) for image in images]
    wanted = [np.exp(each) / np.exp(each).sum() for each in logits]
    with OipTarget(f"http://{kserve}/v2/models/{model}", manifest=manifest) as target:
        np.testing.assert_allclose(target.probabilities(images, draws=2), wanted, atol=1e-5)
        assert target.classes(images).tolist() == [0, 2]
        target.confirm()


@pytest.mark.parametrize("more", [(), ("--unquantized",)])
def test_gradients_are_those_of_the_own_copy(kserve, attack, own, more):
    url = f"http://{kserve}/v2/models/scaled"
    code, printed, run = attack("adaptive(rounds=40,epsilon=0.3)", url, *own, *more)
    assert code == 0
    assert "The defence none is assumed" in printed
    assert "none (assumed)" in printed
    assert asr(run) == 1
    assert run["surrogate"]["model"] == "colours"
    assert run["endpoint"] | {"quantized": None} == {
        "url": url,
        "model": "scaled",
        "model_sha256": None,
        "model_version": None,
        "defense": "none",
        "defense_assumed": True,
        "protocol": "oip",
        "quantized": None,
        "labels": "own",
        "form": "FP32 NCHW of 16x16 px, (pixel - [127.5, 127.5, 127.5]) / [127.5, 127.5, 127.5]; "
        "softmax of 'scores'",
    }
    check = endpoint_check(run)
    assert check["passed"]
    assert check["measured"]["largest_difference"] < 1e-5
    assert "no digest of its model" in check["detail"]


@pytest.mark.parametrize(
    "name",
    [
        "noise(epsilon=0.02)",
        "square(queries=12,rounds=2,draws=1,epsilon=0.5)",
        "hopskipjump(rounds=1,directions=10)",
    ],
)
def test_attacks_without_gradients_need_no_copy(kserve, attack, name):
    code, _, run = attack(name, f"http://{kserve}/v2/models/pixels", "--assume-defense", "rdg")
    assert code == 0
    assert (run["surrogate"], run["endpoint"]["defense"]) == (None, "rdg")
    assert run["dataset"]["selected"] == 2
    check = endpoint_check(run)
    assert check["passed"] is None
    assert "those that the endpoint got right" in check["detail"]


def test_a_transfer_attack_needs_no_copy(kserve, attack, folder, tmp_path, monkeypatch):
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path / "store"))
    Store().put(Manifest.read(folder / "own.json"), (folder / "own.onnx").read_bytes())
    url = f"http://{kserve}/v2/models/pixels"
    code, _, run = attack("adaptive(rounds=40,epsilon=0.3)", url, "--source-model", "colours")
    assert (code, asr(run)) == (0, 1)
    assert run["surrogate"]["model"] == "colours"
    assert endpoint_check(run)["passed"] is None


def test_another_copy_is_another_run(kserve, attack, own, folder):
    url = f"http://{kserve}/v2/models/pixels"
    assert attack("noise", url, *own)[0] == 0
    other = onnx.load(own[1])
    other.doc_string = "other"
    onnx.save(other, folder / "other.onnx")
    code, printed, _ = attack("noise", url, "--model", str(folder / "other.onnx"), *own[2:])
    assert code == 1
    assert "another run, which differs in its chosen_by" in printed


def test_behind_warpguard_the_defence_is_what_the_user_assumes(serve, kserve, attack, own):
    options = ("--predictor-host", kserve, "--model-name", "scaled", "--predictor-manifest", own[3])
    service, _ = serve(*options, "--defense", "fd+rdg")
    url = f"{service.url}/v2/models/scaled"
    name = "adaptive(rounds=40,epsilon=0.3)"
    code, printed, run = attack(name, url, *own, "--assume-defense", "fd+rdg")
    assert code == 0
    assert "fd+rdg (assumed)" in printed
    assert asr(run) == 1
    assert endpoint_check(run)["passed"]
    assert {check["name"] for check in run["checks"] if check["passed"] is False} == set()


def test_a_wrong_assumption_fails_the_check(serve, kserve, attack, own, tmp_path):
    options = ("--predictor-host", kserve, "--model-name", "scaled", "--predictor-manifest", own[3])
    service, _ = serve(*options, "--defense", "fd")
    url = f"{service.url}/v2/models/scaled"
    for assumed, right in (("none", False), ("fd", True)):
        flags = (*own, "--assume-defense", assumed)
        _, _, run = attack("noise(epsilon=0.02)", url, *flags, out=tmp_path / assumed)
        assert endpoint_check(run)["passed"] is right


def test_another_model_behind_the_name_ends_the_run(kserve, attack, own):
    url = f"http://{kserve}/v2/models/swapped"
    code, printed, run = attack("square(queries=40,rounds=2,draws=1)", url, *own)
    assert (code, run) == (1, None)
    assert "serves something else than before" in printed


@pytest.mark.parametrize(
    ("model", "flags", "message"),
    [
        ("pixels", (), "takes gradients, but .*--model and --manifest"),
        ("scaled", (), r"do not have the mean and the std.*--manifest"),
        ("pixels", ("--unquantized", "own"), "has 8 bits a value"),
        ("other", ("own",), "answered 404"),
    ],
)
def test_what_cannot_be_attacked_is_refused(kserve, attack, own, model, flags, message):
    given = [flag for each in flags for flag in (own if each == "own" else (each,))]
    code, printed, run = attack("adaptive(rounds=1)", f"http://{kserve}/v2/models/{model}", *given)
    assert (code, run) == (1, None)
    assert re.search(message, printed), printed
