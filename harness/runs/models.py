"""The models that a run needs on this machine: from the store, or from the user's own files."""

from pathlib import Path
from tempfile import TemporaryDirectory

from harness.errors import SurrogateError
from models import (
    CATALOG,
    Manifest,
    ModelError,
    NotInStoreError,
    Store,
    StoreError,
    UnknownModelError,
    add,
    ensure,
)

_LISTED = 10
"""How many of the store's models a message lists."""


def from_store(name: str, sha256: str | None = None) -> tuple[Manifest, bytes]:
    """Return a model of the store, or an embedded one: its graph in INT8 if that has the digest.

    Raises:
        SurrogateError: the store does not have the model, or it cannot be read.
    """
    store = Store()
    try:
        manifest, graph = ensure(store, name)
        if manifest.int8 is not None and manifest.int8.sha256 == sha256:
            return ensure(store, name, int8=True)
        return manifest, graph
    except (UnknownModelError, NotInStoreError) as error:
        others = sorted(_available(store) - {name})
        more = len(others) - _LISTED
        listed = ", ".join(others[:_LISTED]) + (f" and {more} more" if more > 0 else "")
        missing = isinstance(error, UnknownModelError)
        reason = f"the store {store.root} does not have it." if missing else str(error)
        raise SurrogateError(
            f"{name} cannot be used as a surrogate: {reason} "
            f"Available without a download: {listed}."
        ) from None
    except ModelError as error:
        raise SurrogateError(f"{name} cannot be used as a surrogate: {error}") from None


def from_files(onnx_file: Path, manifest: Manifest) -> tuple[Manifest, bytes]:
    """Return the user's own copy of a model, after the verification of ``models add``.

    Raises:
        SurrogateError: the file cannot be read, or the graph contradicts the manifest.
    """
    with TemporaryDirectory() as folder:
        store = Store(Path(folder))
        try:
            add(store, "copy", onnx_file, manifest)
            stored, graph = store.get("copy")
        except ModelError as error:
            raise SurrogateError(f"--model {onnx_file} cannot be used: {error}") from None
    return stored.model_copy(update={"name": manifest.name}), graph


def _available(store: Store) -> set[str]:
    """Return the models that need no download: those in the store, and the embedded ones."""
    embedded = {name for name, entry in CATALOG.items() if entry.embedded}
    try:
        return embedded | {*store.names()}
    except StoreError:
        return embedded
