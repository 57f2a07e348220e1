"""Everything that an attack needs is checked before it begins."""

import signal
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import httpx2
import onnx
import pytest

from harness.attacks.noise import RandomNoise
from harness.endpoint import Description, HttpTarget
from harness.errors import EndpointError, SurrogateError
from harness.runs.experiment import Experiment
from harness.runs.options import Options
from harness.runs.run import execute
from models import Store, ensure

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
    with pytest.raises(SurrogateError, match=f"no surrogate of {name}: .*{available}"):
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
    with pytest.raises(SurrogateError, match=r"surrogate of theirs: .* a download: .*, mine\.$"):
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
