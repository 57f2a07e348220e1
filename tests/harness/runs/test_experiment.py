"""Everything that an attack needs is checked before it begins."""

import json
import signal
import time
from contextlib import redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

import httpx2
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from harness.attacks.noise import RandomNoise
from harness.cli.main import main
from harness.endpoint import Description, HttpTarget, OipTarget
from harness.errors import DatasetError, EndpointError, RunError, SurrogateError
from harness.runs.experiment import Experiment
from harness.runs.models import from_files
from harness.runs.options import Options
from harness.runs.run import execute
from models import GraphInput, GraphOutput, Manifest, Scaling, Store, ensure

NOWHERE = Path("no/photographs")
"""Photographs are read after the models, so an error about a model comes first."""


@pytest.fixture
def target(tmp_path, monkeypatch):
    """An endpoint with the embedded model, and a store with the model ``mine``."""
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path))
    manifest, graph = ensure(Store(), "efficientnet-lite2")
    Store().put(manifest.model_copy(update={"name": "mine"}), graph)
    described = Description("efficientnet-lite2", manifest.sha256, 299, 299, "none", 1000)
    return SimpleNamespace(url="http://endpoint", description=described)


@pytest.mark.parametrize("name", ["nope", "inception-v3", "No Name"])
def test_an_unavailable_source_model_is_answered_by_the_available_ones(target, name):
    available = r"without a download: efficientnet-lite0, efficientnet-lite2, mine\.$"
    with pytest.raises(
        SurrogateError, match=f"{name} cannot be used as a surrogate: .*{available}"
    ):
        Experiment.open(target, data=NOWHERE, source_model=name)


def test_the_available_models_are_listed_once_and_not_all(target):
    manifest, graph = ensure(Store(), "efficientnet-lite2")
    for number in range(20):
        Store().put(manifest.model_copy(update={"name": f"model-{number:02}"}), graph)
    with pytest.raises(SurrogateError, match=r"model-06 and 13 more\.$") as raised:
        Experiment.open(target, data=NOWHERE, source_model="nope")
    assert str(raised.value).count("model-00") == 1


def test_another_number_of_classes_is_refused(target):
    described = replace(target.description, classes=5)
    with pytest.raises(EndpointError, match=r"reports 5 classes .* the model has 1000"):
        Experiment.open(SimpleNamespace(url=target.url, description=described), data=NOWHERE)


def test_an_unavailable_served_model_is_answered_alike(target):
    served = SimpleNamespace(
        url=target.url, description=Description("theirs", "ab", 299, 299, "none", 1000)
    )
    with pytest.raises(
        SurrogateError, match=r"theirs cannot be used as a surrogate: .* a download: .*, mine\.$"
    ):
        Experiment.open(served, data=NOWHERE)


def test_a_model_that_is_swapped_during_a_run_ends_it(serve, tmp_path, monkeypatch):
    """The name stays, so only the digest shows that the answers come from another model."""
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path / "store"))
    manifest, graph = ensure(Store(), "efficientnet-lite0")
    manifest = manifest.model_copy(update={"name": "mine"})
    Store().put(manifest, graph)
    service, _ = serve(
        *("--model", "mine", "--defense", "none"),
        environment={"WARPGUARD_STORE": str(tmp_path / "store")},
    )

    def swap(*_):
        other = onnx.load_from_string(graph)
        other.doc_string = "other"
        Store().put(manifest.model_copy(update={"sha256": None}), other.SerializeToString())
        service.send_signal(signal.SIGHUP)
        while served() == before:
            time.sleep(0.05)

    def served():
        return httpx2.get(f"{service.url}/v1/models").json()["models"][0]["sha256"]

    before = served()
    options = Options(scoring_draws=1, sanity_images=0)
    with HttpTarget(service.url) as target:
        experiment = Experiment.open(target, limit=1)
        checked = execute(experiment.setup(RandomNoise(), tmp_path / "whole", options)).checks
        setup = experiment.setup(RandomNoise(), tmp_path / "swapped", options)
        with pytest.raises(EndpointError, match=rf"serves something else than before.*{before}"):
            execute(setup, swap)
    (check,) = (each for each in checked if each.name == "endpoint")
    assert check.passed
    assert check.measured["largest_difference"] < 1e-5
    assert not (tmp_path / "swapped" / "run.json").exists()


@pytest.fixture
def without_gradients(tmp_path, monkeypatch):
    """A store with a model that cannot be differentiated, and two photographs that it gets right.

    Its operator Shrink is not known, and its scores are probabilities: the share of each colour.
    """
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["flat"]),
        helper.make_node("Shrink", ["flat"], ["shrunk"], lambd=0.0, bias=0.0),
        helper.make_node("Mul", ["shrunk", "ten"], ["sharper"]),
        helper.make_node("Softmax", ["sharper"], ["shares"]),
    ]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("shares", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(np.array([10], np.float32), "ten")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    manifest = Manifest(
        name="colours",
        input=GraphInput(height_px=16, width_px=16),
        output=GraphOutput(name="shares", kind="probabilities"),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=("red", "green", "blue"),
    )
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path / "store"))
    manifest = Store().put(manifest, model.SerializeToString())
    for name, colour in (("red", (140, 120, 120)), ("blue", (120, 120, 140))):
        noise = np.random.default_rng(0).normal(colour, 30, (16, 16, 3)).clip(0, 255)
        Image.fromarray(noise.astype(np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\nred.png,0\nblue.png,2\n")
    return manifest, tmp_path


def test_a_surrogate_is_built_only_for_gradients(without_gradients):
    manifest, folder = without_gradients
    described = Description("colours", manifest.sha256, 16, 16, "none", 3)
    target = SimpleNamespace(url="http://endpoint", description=described)
    with pytest.raises(SurrogateError, match="gradients need logits"):
        Experiment.open(target, data=NOWHERE)
    with pytest.raises(DatasetError, match="cannot be read"):
        Experiment.open(target, data=NOWHERE, needs_gradients=False)
    experiment = Experiment.open(target, data=folder, needs_gradients=False)
    assert [case.file for case in experiment.cases(targeted=True)] == ["red.png", "blue.png"]


@pytest.mark.parametrize(
    "attack",
    [
        "noise(epsilon=0.02)",
        "square(queries=12,rounds=2,draws=1,epsilon=0.5)",
        "hopskipjump(rounds=1,directions=10)",
    ],
)
def test_attacks_without_gradients_take_any_served_model(attack, without_gradients, serve):
    manifest, folder = without_gradients
    service, _ = serve("--model", "colours")
    command = ["run", attack, "--endpoint", service.url, "--data", str(folder)]
    command += ["--scoring-draws", "2", "--sanity-images", "1", "--out", str(folder / "run")]
    with redirect_stdout(StringIO()):
        assert main(command) == 0
    run = json.loads((folder / "run" / "run.json").read_text())
    assert run["endpoint"]["model_sha256"] == manifest.sha256
    assert run["surrogate"] is None
    checks = {check["name"]: check["passed"] for check in run["checks"]}
    assert checks["draws"] is not None  # the defence is known to be random
    assert (checks["fixed-draw"] is None) == attack.startswith("noise")


@pytest.fixture
def fickle(tmp_path):
    """An unknown server whose answers are the next ones of a list, then all class 1."""
    for name in "abc":
        Image.fromarray(np.full((16, 16, 3), 128, np.uint8)).save(tmp_path / f"{name}.png")
    (tmp_path / "labels.csv").write_text("file,label\na.png,0\nb.png,0\nc.png,0\n")
    answers = []

    def answer(request):
        if request.method == "GET":
            tensor = {"name": "image", "datatype": "UINT8", "shape": [-1, 16, 16, 3]}
            return httpx2.Response(200, json={"name": "m", "inputs": [tensor]})
        row = [0.9, 0.1] if (answers.pop(0) if answers else 1) == 0 else [0.1, 0.9]
        output = {"name": "o", "datatype": "FP32", "shape": [1, 2], "data": row}
        return httpx2.Response(200, json={"outputs": [output]})

    url = "http://endpoint/v2/models/m"
    with OipTarget(url, transport=httpx2.MockTransport(answer)) as target:
        yield target, answers, tmp_path


def test_the_photographs_that_an_endpoint_chose_stay_those_of_the_run(fickle):
    target, answers, folder = fickle
    options = Options(scoring_draws=1, sanity_images=0)

    def setup(limit=None, out="run"):
        experiment = Experiment.open(target, data=folder, needs_gradients=False, limit=limit)
        return experiment.setup(RandomNoise(), folder / out, options)

    answers[:] = [0, 1, 0]
    first = setup()
    assert [case.file for case in first.cases] == ["a.png", "c.png"]
    assert (first.surrogate, first.copy, first.dataset.candidates) == (None, None, 3)
    done = execute(first)
    assert done.endpoint.defense_assumed
    again = setup()  # the endpoint would get none right now
    assert [case.file for case in again.cases] == ["a.png", "c.png"]
    execute(again)
    with pytest.raises(RunError, match=r"another run, which differs in its .*chosen_by"):
        execute(setup(limit=1))
    with pytest.raises(DatasetError, match="gets 0 of 3 photographs"):
        setup(out="other")


def test_gradients_of_an_unknown_model_need_a_copy(fickle):
    target, _, _ = fickle
    with pytest.raises(SurrogateError, match=r"--model and --manifest, .* such as square\.$"):
        Experiment.open(target, data=NOWHERE)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": GraphOutput(name="shares", kind="logits")}, "declared to be logits"),
        ({"labels": ("a", "b")}, "the labels|shape"),
        ({"input": GraphInput(height_px=32, width_px=32)}, "should be"),
    ],
)
def test_a_copy_that_contradicts_its_manifest_is_refused(without_gradients, change, message):
    manifest, folder = without_gradients
    file = folder / "copy.onnx"
    file.write_bytes(Store().get("colours")[1])
    found, graph = from_files(file, manifest)
    assert (found.name, found.sha256, len(graph)) == ("colours", manifest.sha256, len(graph))
    with pytest.raises(SurrogateError, match=rf"--model \S*copy\.onnx cannot be used: .*{message}"):
        from_files(file, manifest.model_copy(update=change))


def test_a_copy_that_cannot_be_read_is_refused(without_gradients):
    manifest, folder = without_gradients
    for file, message in (("no.onnx", "cannot be read"), ("labels.csv", "not an ONNX file")):
        with pytest.raises(SurrogateError, match=f"--model .*{message}"):
            from_files(folder / file, manifest)
