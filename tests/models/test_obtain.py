import errno
import hashlib
import logging
import os
from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from safetensors.numpy import save_file

from models import (
    CATALOG,
    ChecksumError,
    Classifier,
    NotInStoreError,
    PullError,
    Store,
    StoreError,
    UnknownModelError,
    WeightsError,
    ensure,
    hub,
    install,
    manifest_of,
    pull,
    resolve,
)
from models.catalog import PackagedFile


def digest_of(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def weights_file(tmp_path):
    """A function that makes a small weights file."""

    def make(seed=0):
        path = tmp_path / f"weights{seed}.safetensors"
        save_file({"w": np.random.default_rng(seed).standard_normal(3, dtype=np.float32)}, path)
        return path

    return make


@pytest.fixture
def small_catalog(monkeypatch, tiny_graph, tiny_manifest, weights_file):
    """The catalogue with entries that are fast to build: each graph depends on its weights."""
    monkeypatch.syspath_prepend(weights_file(0).parent)
    package = weights_file(0).parent / "embedded_weights"
    package.mkdir()
    (package / "__init__.py").write_text("raise RuntimeError('executed')")
    (package / "embedded.safetensors").write_bytes(weights_file(0).read_bytes())

    def build(weights):
        return onnx.load_model_from_string(tiny_graph(seed=int(abs(weights["w"][0]) * 1e6)))

    for number, name in enumerate(tuple(CATALOG)):
        entry = CATALOG[name]
        weights = entry.weights
        if isinstance(weights, PackagedFile):
            weights = PackagedFile(package.name, "embedded.safetensors", digest_of(weights_file(0)))
        elif weights.sha256:
            weights = replace(weights, sha256=digest_of(weights_file(number)))
        manifest = tiny_manifest(name, recipe=f"{name}/1", source=entry.manifest.source)
        monkeypatch.setitem(
            CATALOG, name, replace(entry, manifest=manifest, weights=weights, build=build)
        )


@pytest.fixture
def fake_hub(monkeypatch, weights_file):
    """A hub that has the weights of one seed, and records each request."""

    class Fake:
        seed = 2
        asked = ()

        def pull(self, file, folder, *, revision, endpoint, quiet):
            self.asked = (*self.asked, (file.model, file.sha256, revision, endpoint, quiet))
            digest = digest_of(weights_file(self.seed))
            if file.sha256 not in (None, digest):
                raise ChecksumError(f"The hub declares {digest}, expected {file.sha256}.")
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"{digest}.part"
            path.write_bytes(weights_file(self.seed).read_bytes())
            return hub.Download(path, digest, "c0ffee")

    fake = Fake()
    monkeypatch.setattr(hub, "pull", fake.pull)
    return fake


def test_the_embedded_model(fresh_store):
    name = resolve(fresh_store, "auto")
    manifest, graph = ensure(fresh_store, name)
    assert manifest.name == "efficientnet-lite2"
    assert manifest.weights_sha256 == CATALOG[name].weights.sha256
    assert manifest.sha256 == hashlib.sha256(graph).hexdigest()
    assert fresh_store.get(name) == (manifest, graph)
    Classifier(manifest, graph, device="cpu").verify()


def test_a_model_is_built_once(fresh_store, small_catalog, monkeypatch):
    first = ensure(fresh_store, "efficientnet-lite2")
    monkeypatch.setitem(
        CATALOG, "efficientnet-lite2", replace(CATALOG["efficientnet-lite2"], build=None)
    )
    assert ensure(fresh_store, "efficientnet-lite2") == first


@pytest.mark.parametrize("fields", [{"recipe": "old/0"}, {"weights_sha256": "0" * 64}])
def test_an_outdated_embedded_model_is_built_again(fresh_store, small_catalog, tiny_graph, fields):
    current = ensure(fresh_store, "efficientnet-lite2")
    fresh_store.put(current[0].model_copy(update=fields), tiny_graph(99))
    assert ensure(fresh_store, "efficientnet-lite2") == current
    assert fresh_store.get("efficientnet-lite2") == current


def test_embedded_weights_that_were_changed(fresh_store, small_catalog):
    path = CATALOG["efficientnet-lite2"].weights.path
    path.write_bytes(path.read_bytes() + b"x")
    with pytest.raises(ChecksumError, match="is not a known file of efficientnet-lite2"):
        ensure(fresh_store, "efficientnet-lite2")


def test_an_embedded_model_works_without_a_store(tmp_path, small_catalog, caplog, monkeypatch):
    store = Store(tmp_path / "full")

    def fail(*_):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        manifest, graph = ensure(store, "efficientnet-lite2")
    assert manifest.sha256 == hashlib.sha256(graph).hexdigest()
    assert "Using efficientnet-lite2 without storing it" in caplog.text
    assert "Read-only file system" in caplog.text
    assert store.names() == ()

    (tmp_path / "file").write_text("")
    caplog.clear()
    assert ensure(Store(tmp_path / "file"), "efficientnet-lite2") == (manifest, graph)
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2


def test_an_embedded_model_replaces_an_invalid_manifest(fresh_store, small_catalog, caplog):
    current = ensure(fresh_store, "efficientnet-lite2")
    (fresh_store.root / "models" / "efficientnet-lite2.json").write_text('{"of": "the future"}')
    assert ensure(fresh_store, "efficientnet-lite2") == current
    assert "Building efficientnet-lite2" in caplog.text
    assert fresh_store.get("efficientnet-lite2") == current


def test_a_damaged_graph_is_an_error(fresh_store, small_catalog):
    ensure(fresh_store, "efficientnet-lite2")
    (graph,) = (fresh_store.root / "graphs").iterdir()
    graph.write_bytes(b"\0" + graph.read_bytes()[1:])
    with pytest.raises(ChecksumError, match="warpguard models pull efficientnet-lite2"):
        ensure(fresh_store, "efficientnet-lite2")
    pull(fresh_store, "efficientnet-lite2", force=True)
    ensure(fresh_store, "efficientnet-lite2")


@pytest.mark.parametrize("name", ["inception-v3", "inception-v3-tf"])
def test_a_model_that_must_be_pulled_first(fresh_store, name):
    for function in (ensure, resolve):
        with pytest.raises(NotInStoreError) as caught:
            function(fresh_store, name)
        for part in (
            str(fresh_store.root),
            f"`warpguard models pull {name}`",
            f"`warpguard models pull {name} --weights FILE`",
            "https://huggingface.co/timm/inception_v3.",
            "efficientnet-lite2",
        ):
            assert part in str(caught.value)


def test_pull(fresh_store, small_catalog, fake_hub):
    manifest = pull(fresh_store, "inception-v3", endpoint="http://mirror", quiet=True)
    digest = CATALOG["inception-v3"].weights.sha256
    assert fake_hub.asked == (("inception-v3", digest, "main", "http://mirror", True),)
    assert manifest.weights_sha256 == digest
    assert manifest.source == (
        "https://huggingface.co/timm/inception_v3.tv_in1k/resolve/c0ffee/model.safetensors"
    )
    assert ensure(fresh_store, "inception-v3")[0] == manifest
    assert not list(fresh_store.downloads.glob("*.part"))
    assert pull(fresh_store, "inception-v3") == manifest
    assert len(fake_hub.asked) == 1
    pull(fresh_store, "inception-v3", force=True, revision="v1")
    assert fake_hub.asked[1][2] == "v1"


def test_a_pulled_file_is_kept_until_the_model_is_stored(
    fresh_store, small_catalog, fake_hub, monkeypatch
):
    def fail(*_):
        raise StoreError("full")

    with monkeypatch.context() as patch:
        patch.setattr(fresh_store, "put", fail)
        with pytest.raises(StoreError):
            pull(fresh_store, "inception-v3")
    assert len(list(fresh_store.downloads.glob("*.part"))) == 1


def test_pull_of_an_embedded_model_builds_it(fresh_store, small_catalog, fake_hub):
    manifest = pull(fresh_store, "efficientnet-lite0")
    assert fresh_store.manifest("efficientnet-lite0") == manifest
    assert not fake_hub.asked


def test_a_model_without_a_known_digest_keeps_to_its_first_digest(
    fresh_store, small_catalog, fake_hub, weights_file, tiny_graph, monkeypatch
):
    fake_hub.seed = 7
    first = pull(fresh_store, "inception-v3-tf")
    assert first.weights_sha256 == digest_of(weights_file(7))
    outdated = first.model_copy(update={"recipe": "old/0"})
    fresh_store.put(outdated, tiny_graph())
    with pytest.raises(NotInStoreError, match="is of an older version in"):
        ensure(fresh_store, "inception-v3-tf")
    fake_hub.seed = 8
    with pytest.raises(ChecksumError, match=r"of the first pull.*force the pull"):
        pull(fresh_store, "inception-v3-tf")
    with pytest.raises(ChecksumError, match=first.weights_sha256):
        install(fresh_store, "inception-v3-tf", weights_file(8))
    assert pull(fresh_store, "inception-v3-tf", force=True).weights_sha256 == digest_of(
        weights_file(8)
    )
    forced = install(fresh_store, "inception-v3-tf", weights_file(9), force=True)
    assert forced.weights_sha256 == digest_of(weights_file(9))


def test_install(fresh_store, small_catalog, weights_file, monkeypatch):
    accepted = digest_of(weights_file(2))
    assert install(fresh_store, "inception-v3", weights_file(2)).weights_sha256 == accepted
    other = digest_of(weights_file(5))
    entry = CATALOG["inception-v3"]
    monkeypatch.setitem(CATALOG, "inception-v3", replace(entry, also_accepted=(other,)))
    assert install(fresh_store, "inception-v3", weights_file(5)).weights_sha256 == other
    assert ensure(fresh_store, "inception-v3")[0].weights_sha256 == other
    with pytest.raises(ChecksumError) as caught:
        install(fresh_store, "inception-v3", weights_file(6))
    for digest in (accepted, other, digest_of(weights_file(6))):
        assert digest in str(caught.value)


def test_install_refuses_the_weights_of_another_model(fresh_store, small_catalog, weights_file):
    with pytest.raises(ChecksumError, match=r"belongs to inception-v3, not to inception-v3-tf"):
        install(fresh_store, "inception-v3-tf", weights_file(2))


@pytest.mark.parametrize("force", [False, True])
def test_a_model_without_a_known_digest_takes_no_pickle(
    fresh_store, small_catalog, tmp_path, tiny_graph, tiny_manifest, force
):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(3)}, path)
    for pinned in (None, digest_of(path)):
        if pinned:
            fresh_store.put(tiny_manifest("inception-v3-tf", weights_sha256=pinned), tiny_graph())
        with pytest.raises(WeightsError, match=r"Use the safetensors file of the same weights"):
            install(fresh_store, "inception-v3-tf", path, force=force)


def test_a_model_with_a_known_digest_takes_that_pickle(
    fresh_store, small_catalog, tmp_path, monkeypatch
):
    path = tmp_path / "weights.pth"
    torch.save({"w": torch.ones(3)}, path)
    entry = replace(CATALOG["inception-v3"], also_accepted=(digest_of(path),))
    monkeypatch.setitem(CATALOG, "inception-v3", entry)
    assert install(fresh_store, "inception-v3", path).weights_sha256 == digest_of(path)


def test_install_of_a_missing_file(fresh_store, tmp_path):
    with pytest.raises(WeightsError, match="cannot be read"):
        install(fresh_store, "inception-v3", tmp_path / "none")


def test_resolve(fresh_store, small_catalog, fake_hub, tiny_manifest, tiny_graph):
    assert resolve(fresh_store, "auto") == "efficientnet-lite2"
    assert resolve(fresh_store, "efficientnet-lite0") == "efficientnet-lite0"
    fresh_store.put(tiny_manifest("mine"), tiny_graph())
    assert resolve(fresh_store, "mine") == "mine"
    assert resolve(fresh_store, "auto") == "efficientnet-lite2"
    fake_hub.seed = 9
    pull(fresh_store, "inception-v3-tf")
    assert resolve(fresh_store, "auto") == "inception-v3-tf"
    fake_hub.seed = 2
    pull(fresh_store, "inception-v3")
    assert resolve(fresh_store, "auto") == "inception-v3"


def test_an_unknown_name(fresh_store, tiny_manifest, tiny_graph):
    fresh_store.put(tiny_manifest("mine"), tiny_graph())
    for function in (resolve, manifest_of, pull):
        with pytest.raises(UnknownModelError, match=r"efficientnet-lite2, .* are: mine\."):
            function(fresh_store, "yours")
    with pytest.raises(UnknownModelError):
        ensure(fresh_store, "yours")
    with pytest.raises(UnknownModelError):
        install(fresh_store, "yours", fresh_store.root)


def test_a_users_model(fresh_store, tiny_manifest, tiny_graph):
    stored = fresh_store.put(tiny_manifest("mine"), tiny_graph())
    assert ensure(fresh_store, "mine") == (stored, tiny_graph())
    assert manifest_of(fresh_store, "mine") == stored


def test_manifest_of_a_model_that_is_not_in_the_store(fresh_store):
    assert manifest_of(fresh_store, "inception-v3") is CATALOG["inception-v3"].manifest


def test_an_error_of_the_connection_names_the_command(fresh_store):
    with pytest.raises(PullError, match="inception-v3-tf --weights"):
        pull(fresh_store, "inception-v3-tf", endpoint="http://127.0.0.1:9", quiet=True)
