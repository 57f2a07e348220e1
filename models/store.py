"""The store: a directory of ONNX graphs, addressed by their SHA-256, and of their manifests.

    <root>/models/<name>.json      a manifest, which names its graphs by their SHA-256
    <root>/graphs/<sha256>.onnx    a graph, which is never changed
    <root>/downloads/              weights that are being pulled: see ``models.hub``

Renaming the manifest replaces a model. A reader therefore gets the complete old model or the
complete new model, even if the writer is killed. Writers take turns under a lock. Readers need no
lock.
"""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from platformdirs import user_cache_path
from pydantic import TypeAdapter, ValidationError

from models.errors import ChecksumError, StoreError, UnknownModelError
from models.files import TEMPORARY_SUFFIX, sync_folder, write_atomically
from models.manifest import Manifest, ModelName, Speed


class Store:
    """The models of one directory, which is made on the first write.

    Attributes:
        root: the directory.
        lock_timeout_s: how long a writer waits for another writer to finish.
    """

    def __init__(self, root: Path | None = None, *, lock_timeout_s: float = 30.0) -> None:
        """Open a store.

        Args:
            root: the store's directory; by default the environment's ``WARPGUARD_STORE``, or else
                ``warpguard`` in the user's cache directory.
            lock_timeout_s: how long, in seconds, a writer waits for another writer to finish.
        """
        if root is None:
            configured = os.environ.get("WARPGUARD_STORE")
            root = Path(configured) if configured else user_cache_path("warpguard", appauthor=False)
        self.root = root
        self.lock_timeout_s = lock_timeout_s

    @property
    def downloads(self) -> Path:
        """The directory of the weights that are being pulled."""
        return self.root / "downloads"

    def names(self) -> tuple[str, ...]:
        """Return the names of the models in the store, sorted.

        Raises:
            StoreError: the store cannot be read.
        """
        with self._reading():
            return tuple(sorted(path.stem for path in self._manifest_paths()))

    def manifest(self, name: str) -> Manifest | None:
        """Return a model's manifest without its graph; None if the store lacks the model.

        Raises:
            UnknownModelError: the name is not a valid name of a model.
            StoreError: the store cannot be read.
            ManifestError: the manifest in the store is not valid.
        """
        path = self._manifest_path(name)
        with self._reading():
            try:
                manifest = Manifest.parse(path.read_bytes(), str(path))
            except FileNotFoundError:
                return None
        if manifest.name != name or manifest.sha256 is None:
            raise StoreError(
                f"The manifest {path} names the model {manifest.name!r} with the SHA-256 "
                f"{manifest.sha256}, so the store did not write it. Delete it, and install "
                f"{name!r} again."
            )
        return manifest

    def get(self, name: str, *, int8: bool = False) -> tuple[Manifest, bytes]:
        """Read a model, and verify it.

        Args:
            name: the model's name.
            int8: read the graph in INT8, if the model has one.

        Returns:
            The graph's manifest, and the ONNX graph with the manifest's SHA-256.

        Raises:
            UnknownModelError: the store has no model of that name.
            ChecksumError: the graph has changed since it was stored.
            StoreError: the store cannot be read.
            ManifestError: the manifest in the store is not valid.
        """
        missing = None
        while (manifest := self.manifest(name)) is not None:
            manifest = manifest.in_int8 if int8 and manifest.int8 else manifest
            path = self._graph_path(str(manifest.sha256))
            with self._reading():
                try:
                    graph_bytes = path.read_bytes()
                except FileNotFoundError:
                    # The model was replaced since its manifest was read, or its graph is missing.
                    if manifest == missing:
                        raise
                    missing = manifest
                    continue
            actual = hashlib.sha256(graph_bytes).hexdigest()
            if actual != manifest.sha256:
                raise ChecksumError(
                    f"The file {path} is damaged: its SHA-256 should be {manifest.sha256}, but is "
                    f"{actual}. Run `warpguard models remove {name}`, and install the model again "
                    f"with `warpguard models pull {name}`, or with `warpguard models add` if it is "
                    "your own."
                )
            return manifest, graph_bytes
        raise UnknownModelError(
            f"The store {self.root} has no model {name!r}. It has: "
            f"{', '.join(self.names()) or 'none'}."
        )

    def put(
        self, manifest: Manifest, graph_bytes: bytes, int8_bytes: bytes | None = None
    ) -> Manifest:
        """Add a model, or replace the model of the same name.

        Args:
            manifest: the model's manifest. Its ``sha256`` is ignored.
            graph_bytes: the ONNX file.
            int8_bytes: the ONNX file in INT8. Without it, ``int8`` of the manifest is left out.

        Returns:
            The manifest with the graph's SHA-256.

        Raises:
            StoreError: the store cannot be written. Its models are unchanged.
        """
        digest = hashlib.sha256(graph_bytes).hexdigest()
        int8 = None if int8_bytes is None else manifest.int8
        manifest = manifest.model_copy(update={"sha256": digest, "int8": int8})
        with self._writing():
            # The graph is written even if it exists, because the existing file may be damaged.
            write_atomically(self._graph_path(digest), graph_bytes)
            if int8 is not None and int8_bytes is not None:
                write_atomically(self._graph_path(int8.sha256), int8_bytes)
            self._write(manifest)
            self._sweep()
        return manifest

    def note_speed(self, name: str, int8_sha256: str, processor: str, speed: Speed) -> None:
        """Record what was measured, if the store still has that graph.

        Raises:
            StoreError: the store cannot be written.
            ManifestError: the manifest in the store is not valid.
        """
        with self._writing():
            manifest = self.manifest(name)
            if manifest is not None and manifest.int8 and manifest.int8.sha256 == int8_sha256:
                speeds = {**manifest.int8.speed, processor: speed}
                int8 = manifest.int8.model_copy(update={"speed": speeds})
                self._write(manifest.model_copy(update={"int8": int8}))

    def remove(self, name: str) -> None:
        """Remove a model.

        Raises:
            UnknownModelError: the store has no model of that name.
            StoreError: the store cannot be written.
        """
        path = self._manifest_path(name)
        if name not in self.names():
            raise UnknownModelError(f"The store {self.root} has no model {name!r}.")
        with self._writing():
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
            self._sweep()

    def _write(self, manifest: Manifest) -> None:
        text = manifest.model_dump_json(indent=2)
        write_atomically(self._manifest_path(manifest.name), text.encode())

    def _manifest_path(self, name: str) -> Path:
        # Only a valid name may become part of a path, because names come from outside.
        try:
            TypeAdapter(ModelName).validate_python(name)
        except ValidationError:
            raise UnknownModelError(
                f"{name!r} is not a valid model name. Use up to 64 lower-case letters, digits, "
                "dots, dashes and underscores, and begin with a letter or a digit."
            ) from None
        return self.root / "models" / f"{name}.json"

    def _manifest_paths(self) -> list[Path]:
        return [p for p in (self.root / "models").glob("*.json") if not p.name.startswith(".")]

    def _graph_path(self, digest: str) -> Path:
        return self.root / "graphs" / f"{digest}.onnx"

    def _sweep(self) -> None:
        """Delete the graphs that no manifest names. The caller must hold the lock."""
        manifests = "".join(path.read_text("utf-8") for path in self._manifest_paths())
        for graph in (self.root / "graphs").glob("*.onnx"):
            if graph.stem not in manifests:
                graph.unlink(missing_ok=True)

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise StoreError(
                f"The store {self.root} cannot be read: {error}. Set WARPGUARD_STORE to a "
                "directory that this user can read and write, or install the model again."
            ) from error

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            for folder in ("graphs", "models"):
                (self.root / folder).mkdir(parents=True, exist_ok=True)
            with FileLock(self.root / ".lock", timeout=self.lock_timeout_s):
                # A killed writer left these files, because a live writer would hold the lock.
                for leftover in self.root.glob(f"*/*{TEMPORARY_SUFFIX}"):
                    leftover.unlink(missing_ok=True)
                yield
        except Timeout:
            raise StoreError(
                f"Another process has been writing to the store {self.root} for more than "
                f"{self.lock_timeout_s:g} s. Wait until it finishes, or end it, and try again."
            ) from None
        except OSError as error:
            raise StoreError(
                f"The store {self.root} cannot be written: {error}. Make room on its disk and "
                "make sure that this user may write to it, or set WARPGUARD_STORE to another "
                "directory."
            ) from error
