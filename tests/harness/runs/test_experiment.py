"""Everything that an attack needs is checked before it begins."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.endpoint import Description
from harness.errors import SurrogateError
from harness.runs.experiment import Experiment
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


def test_an_unavailable_served_model_is_answered_alike(target):
    served = SimpleNamespace(
        url=target.url, description=Description("theirs", "ab", 299, 299, "none", 1000)
    )
    with pytest.raises(SurrogateError, match=r"surrogate of theirs: .* a download: .*, mine\.$"):
        Experiment.open(served, data=NOWHERE)
