"""Add the user's own classifier: an ONNX file, and a manifest that must describe it correctly."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped] # has no types

from models.catalog import CATALOG
from models.errors import ManifestError
from models.manifest import Manifest
from models.session import Classifier
from models.store import Store


def add(store: Store, name: str, onnx_file: Path, manifest: Manifest) -> Manifest:
    """Verify a model on the CPU, and store it. It replaces a stored model of the same name.

    Args:
        store: the store that receives the model.
        name: the model's name, which must not be in the catalogue.
        onnx_file: the graph, with its weights inside.
        manifest: the model's description. Its own name is ignored.

    Returns:
        The manifest as it was stored.

    Raises:
        ManifestError: the name is in the catalogue, the file cannot be loaded, or the graph
            contradicts the manifest.
        StoreError: the store cannot be written.
    """
    if name in CATALOG or name == "auto":
        raise ManifestError(f"The name {name!r} belongs to the catalogue. Choose another name.")
    named = manifest.model_copy(update={"name": name, "recipe": None})
    manifest = Manifest.parse(named.model_dump_json(), f"of {name!r}")
    try:
        graph_bytes = onnx_file.read_bytes()
        model = onnx.load_model_from_string(graph_bytes)
    except OSError as error:
        raise ManifestError(f"The ONNX file {onnx_file} cannot be read: {error}") from error
    except DecodeError as error:
        raise ManifestError(f"{onnx_file} is not an ONNX file: {error}") from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            raise ManifestError(
                f"{onnx_file} keeps the weights {tensor.name!r} in another file. Save one file: "
                f"`onnx.save(onnx.load({onnx_file.name!r}), 'whole.onnx')`."
            )
    Classifier(manifest, graph_bytes, device="cpu").verify()
    return store.put(manifest, graph_bytes)


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Yield all tensors of a model, also those of nested graphs."""
    yield from _graph_tensors(model.graph)
    for function in model.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.TensorProto]:
    for node in nodes:
        for attribute in node.attribute:
            yield from (attribute.t, *attribute.tensors)
            for graph in (attribute.g, *attribute.graphs):
                yield from _graph_tensors(graph)
