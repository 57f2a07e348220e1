"""Obtain a model of the catalogue from the store, from an installed package, or from the hub."""

import hashlib
import logging
from dataclasses import replace
from pathlib import Path

from models.catalog import CATALOG, EMBEDDED, PREFERRED, CatalogEntry, HubFile, PackagedFile
from models.errors import (
    ChecksumError,
    ManifestError,
    NotInStoreError,
    StoreError,
    UnknownModelError,
    WeightsError,
)
from models.manifest import Manifest
from models.store import Store
from models.weights import read_weights

_log = logging.getLogger(__name__)


def manifest_of(store: Store, name: str) -> Manifest:
    """Return a model's manifest from the store, or else from the catalogue, without digests.

    Raises:
        UnknownModelError: neither the store nor the catalogue has a model of that name.
        StoreError: the store cannot be read.
        ManifestError: the manifest in the store is not valid.
    """
    stored = store.manifest(name)
    if stored is not None:
        return stored
    return _entry(store, name).manifest


def resolve(store: Store, name: str) -> str:
    """Find the name of the model to load, and check that the model can be loaded.

    Args:
        store: the store to search.
        name: a model's name, or ``auto``, which is Inception V3 if it has been pulled, and the
            embedded model otherwise.

    Returns:
        The model's name.

    Raises:
        UnknownModelError: neither the store nor the catalogue has a model of that name.
        NotInStoreError: the model must be pulled first.
        StoreError: the store cannot be read.
    """
    stored = store.names()
    if name == "auto":
        return next((preferred for preferred in PREFERRED if preferred in stored), EMBEDDED)
    if name not in stored:
        weights = _entry(store, name).weights
        if isinstance(weights, HubFile):
            raise _not_pulled(store, weights, "is not in")
    return name


def ensure(store: Store, name: str, *, int8: bool = False) -> tuple[Manifest, bytes]:
    """Get a model from the store. An embedded model that is missing or outdated is built.

    Args:
        store: the store to search, which also receives a model that is built. The model is
            returned even if it cannot be stored.
        name: a model's name.
        int8: get the graph in INT8, if the model has one.

    Returns:
        The graph's manifest, with its digest, and its ONNX file.

    Raises:
        UnknownModelError: neither the store nor the catalogue has a model of that name.
        NotInStoreError: the model must be pulled first, or pulled again.
        ChecksumError: the graph in the store, or an embedded weights file, is damaged.
        WeightsError: an embedded weights file is missing.
        StoreError: the store cannot be read, and the model is not embedded.
        ManifestError: the manifest in the store is not valid, and the model is not embedded.
    """
    if name not in CATALOG:
        return store.get(name, int8=int8)
    entry = CATALOG[name]
    stored = None
    try:
        stored = store.manifest(name)
        if stored is not None and entry.made(stored):
            return store.get(name, int8=int8)
    except (StoreError, ManifestError) as error:
        if not entry.embedded:
            raise
        _log.warning("Building %s, because the store cannot provide it. %s", name, error)
    if isinstance(entry.weights, HubFile):
        state = "is of an older version in" if stored else "is not in"
        raise _not_pulled(store, entry.weights, state)
    manifest, graph_bytes, int8_bytes = _build(entry, entry.weights.path)
    try:
        manifest = store.put(manifest, graph_bytes, int8_bytes)
    except StoreError as error:
        _log.warning("Using %s without storing it. %s", name, error)
        digest = hashlib.sha256(graph_bytes).hexdigest()
        manifest = manifest.model_copy(update={"sha256": digest})
    return (manifest.in_int8, int8_bytes) if int8 and int8_bytes else (manifest, graph_bytes)


def install(store: Store, name: str, weights_file: Path, *, force: bool = False) -> Manifest:
    """Build a model of the catalogue from a weights file, and store it.

    Args:
        store: the store that receives the model.
        name: the model's name.
        weights_file: a safetensors file or a torch state dict whose SHA-256 is known for the model.
            A model without a known SHA-256 accepts only safetensors, and only the file of the
            stored model, if the store has one.
        force: for a model without a known SHA-256, accept a different safetensors file.

    Returns:
        The manifest as it was stored.

    Raises:
        UnknownModelError: the catalogue has no model of that name.
        ChecksumError: the file is not accepted.
        WeightsError: the file cannot be read, or is a pickle whose SHA-256 is not known.
        StoreError: the store cannot be read or written.
        ManifestError: the manifest in the store is not valid.
    """
    entry = _pinned(store, _entry(store, name), force=force)
    return store.put(*_build(entry, weights_file))


def pull(
    store: Store,
    name: str,
    *,
    revision: str = "main",
    endpoint: str | None = None,
    force: bool = False,
    quiet: bool = False,
) -> Manifest:
    """Pull a model's weights from the hub, build the model, and store it.

    A model that is in the store, and not outdated, is not pulled again. An embedded model is built
    and not pulled.

    Args:
        store: the store that receives the model.
        name: the model's name.
        revision: the branch, tag or commit of the hub's repository.
        endpoint: the hub's URL; by default the environment's ``HF_ENDPOINT``.
        force: pull the model again, and accept a different file for a model without a known
            SHA-256.
        quiet: show no progress bar.

    Returns:
        The manifest as it was stored.

    Raises:
        UnknownModelError: the catalogue has no model of that name.
        PullError: the hub cannot be reached, or does not have the file.
        ChecksumError: the hub has a different file.
        WeightsError: the file cannot be read.
        StoreError: the store cannot be read or written.
        ManifestError: the manifest in the store is not valid.
    """
    from models import hub  # its libraries are slow to import, and nothing else needs them

    entry = _entry(store, name)
    stored = store.manifest(name)
    if stored is not None and entry.made(stored) and not force:
        return stored
    entry = _pinned(store, entry, force=force)
    if isinstance(entry.weights, PackagedFile):
        return store.put(*_build(entry, entry.weights.path))
    try:
        download = hub.pull(
            entry.weights, store.downloads, revision=revision, endpoint=endpoint, quiet=quiet
        )
    except ChecksumError as error:
        if entry.weights.sha256 == CATALOG[name].weights.sha256:
            raise
        raise ChecksumError(
            f"{error} The expected SHA-256 is that of the first pull, for which only the hub "
            f"vouched. To trust the hub again, remove {name} from the store or force the pull."
        ) from error
    manifest, graph_bytes, int8_bytes = _build(entry, download.path)
    source = {"source": entry.weights.url(download.commit)}
    manifest = store.put(manifest.model_copy(update=source), graph_bytes, int8_bytes)
    download.path.unlink(missing_ok=True)
    return manifest


def _entry(store: Store, name: str) -> CatalogEntry:
    if name in CATALOG:
        return CATALOG[name]
    own = ", ".join(own for own in store.names() if own not in CATALOG)
    raise UnknownModelError(
        f"The catalogue has no model {name!r}. It has: {', '.join(CATALOG)}."
        + (f" Your own models in the store are: {own}." if own else "")
    )


def _pinned(store: Store, entry: CatalogEntry, *, force: bool) -> CatalogEntry:
    """Return the entry. If its SHA-256 is unknown, bind it to the file of the stored model."""
    if entry.accepted or force or isinstance(entry.weights, PackagedFile):
        return entry
    stored = store.manifest(entry.manifest.name)
    if stored is None:
        return entry
    return replace(entry, weights=replace(entry.weights, sha256=stored.weights_sha256))


def _build(entry: CatalogEntry, weights_file: Path) -> tuple[Manifest, bytes, bytes | None]:
    """Build the graphs from a weights file, which must be one that the entry accepts.

    Returns:
        The manifest, the graph in FP32, and the graph in INT8 if its ranges come with warpguard.
    """
    name = entry.manifest.name
    try:
        with weights_file.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"The weights file {weights_file} cannot be read: {error}") from error
    owners = [other for other, e in CATALOG.items() if digest in e.accepted]
    if owners and name not in owners:
        raise ChecksumError(
            f"The weights file {weights_file} belongs to {owners[0]}, not to {name}."
        )
    if entry.accepted and digest not in entry.accepted:
        raise ChecksumError(
            f"The weights file {weights_file} is not a known file of {name}: its SHA-256 is "
            f"{digest}, expected {' or '.join(entry.accepted)}. The file is incomplete, damaged or "
            "a different one. Download it again."
        )
    # Not ``entry.accepted``, because that may hold the digest of a first pull, which is not proved.
    weights = read_weights(weights_file, trusted=CATALOG[name].accepted)
    model = entry.build(weights)
    manifest = entry.manifest.model_copy(update={"weights_sha256": digest})
    graph_bytes = model.SerializeToString(deterministic=True)
    if manifest.int8 is None:
        return manifest, graph_bytes, None
    int8_bytes = entry.build_int8(model).SerializeToString(deterministic=True)
    int8 = manifest.int8.model_copy(update={"sha256": hashlib.sha256(int8_bytes).hexdigest()})
    return manifest.model_copy(update={"int8": int8}), graph_bytes, int8_bytes


def _not_pulled(store: Store, file: HubFile, state: str) -> NotInStoreError:
    return NotInStoreError(
        f"The model {file.model} {state} the store {store.root}. Run `warpguard models pull "
        f"{file.model}`, or download {file.url()} on another machine and run `warpguard models "
        f"pull {file.model} --weights FILE`. The embedded model {EMBEDDED} needs no download."
    )
