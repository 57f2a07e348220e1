"""Read the tensors of a weights file, whichever of three formats it is in, without torch.

The formats are told apart by their content:

- safetensors: https://github.com/huggingface/safetensors#format
- torch's ZIP archive, the default since torch 1.6: ``<root>/data.pkl`` and ``<root>/data/<key>``;
  https://docs.pytorch.org/docs/stable/notes/serialization.html
- torch's older sequence: five pickles (magic number, protocol, system, state dict, storage keys),
  then each storage as an int64 element count and its raw elements
"""

import io
import math
import struct
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.errors import WeightsError
from models.torch_pickle import Reader, StateDictUnpickler, Storage, Tensor, kind, quote

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"
_MAGIC = 119547037146038801333356
_PROTOCOL = 1001


def read_weights(path: Path) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a weights file.

    Args:
        path: a ``.safetensors`` file, or a state dict saved by ``torch.save`` in either of its
            formats. The content decides which it is, not the extension.

    Returns:
        The tensors by name, in the file's order: float32, C-contiguous, each with its own memory.
        Half and double precision are converted. Integer and boolean tensors, such as
        ``num_batches_tracked``, are left out: inference has no use for them.

    Raises:
        WeightsError: the file cannot be read, is of another format, is damaged, holds something
            other than tensors, or tries to load something that a state dict does not need.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if head.startswith(_ZIP_START):
                return _read_zip(file)
            if head[8:] == b"{":
                return _read_safetensors(path)
            if head.startswith(_PICKLE_START):
                return _read_sequence(Reader(file))
        raise WeightsError(f"is neither torch's nor safetensors: it starts with {head!a}")
    except OSError as error:
        raise WeightsError(f"The weights file {path} cannot be read: {error}") from error
    except WeightsError as error:
        raise WeightsError(f"The weights file {path} {error}") from error.__cause__


def _read_safetensors(path: Path) -> dict[str, NDArray[np.float32]]:
    weights: dict[str, NDArray[np.float32]] = {}
    try:
        with safe_open(path, framework="numpy") as file:
            for name in file.keys():  # noqa: SIM118 (not a dict)
                dtype = file.get_slice(name).get_dtype()
                if dtype in ("F16", "F32", "F64"):
                    weights[name] = _float32(file.get_tensor(name))
                elif not dtype.startswith(("I", "U", "BOOL")):
                    raise WeightsError(f"has {quote(name)} in {dtype}, which is not supported")
    except SafetensorError as error:
        raise WeightsError(f"is not valid safetensors: {error}") from error
    return weights


def _read_sequence(reader: Reader) -> dict[str, NDArray[np.float32]]:
    if StateDictUnpickler(reader).load() != _MAGIC:
        raise WeightsError("is a pickle without the magic number of a torch file")
    if StateDictUnpickler(reader).load() != _PROTOCOL:
        raise WeightsError(f"is not of torch's protocol {_PROTOCOL}")
    match StateDictUnpickler(reader).load():
        case {"little_endian": True}:
            pass
        case _:
            raise WeightsError("was not written on a little-endian machine")
    unpickler = StateDictUnpickler(reader)
    tensors = _tensors(unpickler.load(), reader.size)
    keys = StateDictUnpickler(reader).load()
    if (
        not isinstance(keys, list)
        or not all(isinstance(key, str) for key in keys)
        or sorted(keys) != sorted(unpickler.storages)
    ):
        raise WeightsError("does not list the storages that its tensors are in")

    def storages() -> Iterator[tuple[Storage, bytes]]:
        for key in keys:
            storage = unpickler.storages[key]
            elements = reader.integer("<q")
            if elements != storage.elements:
                raise WeightsError(
                    f"has {elements} elements in the storage {quote(key)}, "
                    f"expected {storage.elements}"
                )
            yield storage, reader.take(storage.nbytes)

    weights = _copy(tensors, storages())
    if reader.left:
        raise WeightsError(f"goes on for {reader.left} bytes after its last storage")
    return weights


def _read_zip(file: IO[bytes]) -> dict[str, NDArray[np.float32]]:
    try:
        with zipfile.ZipFile(file) as archive:
            return _read_archive(archive, file.seek(0, io.SEEK_END))
    # What zipfile raises for a damaged archive besides its own error.
    except (
        EOFError,
        LookupError,
        OverflowError,
        RuntimeError,
        ValueError,
        struct.error,
        zipfile.BadZipFile,
    ) as error:
        raise WeightsError(f"is not a valid ZIP archive: {error}") from error


def _read_archive(archive: zipfile.ZipFile, file_bytes: int) -> dict[str, NDArray[np.float32]]:
    records = {info.filename: info for info in archive.infolist()}
    pickles = [name for name in records if name.endswith("/data.pkl")]
    if len(pickles) != 1:
        raise WeightsError(f"has {len(pickles)} data.pkl, expected 1")
    root = pickles[0].removesuffix("/data.pkl")

    def read(name: str) -> bytes:
        if name not in records:
            raise WeightsError(f"lacks the record {quote(name)}")
        if records[name].compress_type != zipfile.ZIP_STORED:
            raise WeightsError(f"has the record {quote(name)} compressed; torch stores it as it is")
        return archive.read(name)

    order = f"{root}/byteorder"
    if order in records and read(order) != b"little":
        raise WeightsError("was not written on a little-endian machine")
    unpickler = StateDictUnpickler(Reader(io.BytesIO(read(pickles[0]))))
    tensors = _tensors(unpickler.load(), file_bytes)

    def storages() -> Iterator[tuple[Storage, bytes]]:
        for storage in unpickler.storages.values():
            data = read(f"{root}/data/{storage.key}")
            if len(data) != storage.nbytes:
                raise WeightsError(
                    f"has {len(data)} bytes in the storage {quote(storage.key)}, "
                    f"expected {storage.nbytes}"
                )
            yield storage, data

    return _copy(tensors, storages())


def _tensors(state_dict: object, file_bytes: int) -> dict[str, Tensor]:
    """Make sure that an unpickled object is a dict of tensors, of a size that fits the file's."""
    if not isinstance(state_dict, dict):
        raise WeightsError(f"holds {kind(state_dict)}, expected a dict of tensors")
    for name, tensor in state_dict.items():
        if not isinstance(tensor, Tensor):
            raise WeightsError(f"holds {kind(tensor)} as {quote(name)}, expected a tensor")
    tensors = {name: tensor for name, tensor in state_dict.items() if tensor.storage.is_float}
    # With a stride of 0, or under many names, a small storage could fill the memory.
    elements = sum(math.prod(max(n, 1) for n in tensor.shape) for tensor in tensors.values())
    if elements > file_bytes:
        raise WeightsError(f"describes {elements} elements in a file of {file_bytes} bytes")
    return tensors


def _copy(
    tensors: dict[str, Tensor], storages: Iterable[tuple[Storage, bytes]]
) -> dict[str, NDArray[np.float32]]:
    """Copy the tensors out of their storages, of which one at a time is in memory."""
    names: dict[str, list[str]] = {}
    for name, tensor in tensors.items():
        names.setdefault(tensor.storage.key, []).append(name)
    arrays = {
        name: _float32(tensors[name].view(data))
        for storage, data in storages
        for name in names.get(storage.key, ())
    }
    return {name: arrays[name] for name in tensors}


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    # A double beyond float32's range becomes an infinity, which the graph's builder refuses.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(array, dtype=np.float32, order="C")
