"""What an attack needs is seen to before it begins."""

from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.endpoint import Description
from harness.errors import SurrogateError
from harness.runs.experiment import Experiment
from models import Store, ensure

NOWHERE = Path("no/photographs")
"""They are read after the models: an error about these comes first."""


@pytest.fixture
def target(tmp_path, monkeypatch):
    """An endpoint of the embedded model, and a store that has a model under a name of its own."""
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path))
    manifest, graph = ensure(Store(), "efficientnet-lite2")
    Store().put(manifest.model_copy(update={"name": "mine"}), graph)
    described = Description("efficientnet-lite2", manifest.sha256, 299, 299, "none")
    return SimpleNamespace(url="http://endpoint", description=described)


@pytest.mark.parametrize("name", ["nope", "inception-v3", "No Name"])
def test_a_model_that_is_not_there_is_answered_by_those_that_are(target, name):
    at_hand = r"At hand are: efficientnet-lite0, efficientnet-lite2, mine\.$"
    with pytest.raises(SurrogateError, match=f"copy of {name}: .*{at_hand}"):
        Experiment.open(target, data=NOWHERE, source_model=name)


def test_a_served_model_that_is_not_there_too(target):
    served = SimpleNamespace(
        url=target.url, description=Description("theirs", "ab", 299, 299, "none")
    )
    with pytest.raises(SurrogateError, match=r"copy of theirs: .*At hand are: .*, mine\.$"):
        Experiment.open(served, data=NOWHERE)
