"""Add the user's own classifier: an ONNX file, and a manifest that must describe it correctly."""

from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError, Message  # type: ignore[import-untyped] # has no types

from models.catalog import CATALOG
from models.errors import ManifestError
from models.int8.qdq import is_quantized
from models.manifest import Manifest
from models.store import Store
from models.verify import verify

VERIFIED_WITHIN_S = 60.0
"""How long the verification of a model may take by default."""


def add(
    store: Store,
    name: str,
    onnx_file: Path,
    manifest: Manifest,
    *,
    timeout_s: float = VERIFIED_WITHIN_S,
) -> Manifest:
    """Verify a model on the CPU, and store it. It replaces a stored model of the same name.

    Args:
        store: the store that receives the model.
        name: the model's name, which must not be in the catalogue.
        onnx_file: the graph, with its weights inside.
        manifest: the model's description. Its own name is ignored.
        timeout_s: how long, in seconds, the verification may take.

    Returns:
        The manifest as it was stored.

    Raises:
        ManifestError: the name is in the catalogue, the file cannot be loaded or keeps tensors in
            other files, the graph contradicts the manifest, or its verification takes too long.
        StoreError: the store cannot be written.
    """
    if name in CATALOG or name == "auto":
        raise ManifestError(f"The name {name!r} belongs to the catalogue. Choose another name.")
    own = {"name": name, "recipe": None, "precision": "fp32", "int8": None}
    named = manifest.model_copy(update=own)
    manifest = Manifest.parse(named.model_dump_json(), f"of {name!r}")
    try:
        graph_bytes = onnx_file.read_bytes()
        model = onnx.load_model_from_string(graph_bytes)
    except OSError as error:
        raise ManifestError(f"The ONNX file {onnx_file} cannot be read: {error}") from error
    except DecodeError as error:
        raise ManifestError(f"{onnx_file} is not an ONNX file: {error}") from error
    for tensor in _tensors(model):
        if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
            raise ManifestError(
                f"{onnx_file} keeps the weights {tensor.name!a} in another file. Save one file: "
                f"`onnx.save(onnx.load({onnx_file.name!r}), 'whole.onnx')`."
            )
    verify(manifest, graph_bytes, timeout_s=timeout_s)
    if is_quantized(model):
        manifest = manifest.model_copy(update={"precision": "int8"})
    return store.put(manifest, graph_bytes)


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Yield all tensors of a model, wherever it holds them: every field that may hold one."""
    messages = [message]
    while messages:
        message = messages.pop()
        if isinstance(message, onnx.TensorProto):
            yield message
        for field in message.DESCRIPTOR.fields:
            if field.message_type is None:
                continue
            value = getattr(message, field.name)
            if not isinstance(value, Message):
                messages += value
            elif message.HasField(field.name):
                messages.append(value)
