"""The served model is found by its digest, also in INT8."""

import httpx2
import pytest

from harness.attacks import parse_attack
from harness.endpoint import HttpTarget
from harness.runs.experiment import Experiment
from harness.runs.models import from_store
from harness.runs.options import Options
from harness.runs.run import execute
from harness.server import Server
from models import Store, ensure

NAME = "efficientnet-lite0"


def test_the_graph_with_the_served_digest_is_taken(tmp_path, monkeypatch):
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path))
    manifest, graph = ensure(Store(), NAME)
    assert from_store(NAME, manifest.sha256) == (manifest, graph)
    int8, int8_graph = from_store(NAME, manifest.int8.sha256)
    assert (int8.precision, int8.sha256) == ("int8", manifest.int8.sha256)
    assert len(int8_graph) < len(graph) / 2
    assert from_store(NAME, "0" * 64) == (manifest, graph)


@pytest.mark.slow
def test_adaptive_reaches_its_class_against_int8_too(tmp_path, monkeypatch):
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path / "store"))
    options = ("--model", NAME, "--precision", "int8", "--deadline-ms", "600000")
    with Server(*options, log=tmp_path / "log") as server, HttpTarget(server.url) as target:
        (served,) = httpx2.get(f"{server.url}/v1/models").json()["models"]
        assert (served["precision"], served["precision_reason"]) == ("int8", "INT8 was asked for")
        experiment = Experiment.open(target, limit=2, device="cpu")
        assert experiment.surrogate.onnx.quantized
        attack = parse_attack("adaptive(rounds=20,draws=4)")
        setup = experiment.setup(attack, tmp_path / "run", Options(sanity_images=0))
        run = execute(setup)
    answers = [
        answer == image.target for image in run.images for answer in image.scores[-1].classes
    ]
    assert sum(answers) >= 0.8 * len(answers)
    (check,) = (each for each in run.checks if each.name == "endpoint")
    assert check.passed, check.detail
