"""Read the tensors of a weights file in one of three formats, without torch.

The content decides which format a file is in:

- safetensors: https://github.com/huggingface/safetensors#format
- torch's ZIP archive, the default since torch 1.6: ``<root>/data.pkl`` and ``<root>/data/<key>``;
  https://docs.pytorch.org/docs/stable/notes/serialization.html
- torch's older sequence: five pickles (magic number, protocol, system, state dict, storage keys),
  then each storage as an int64 element count and its raw elements

A pickle is a program. Both of torch's formats are therefore read only if the file's SHA-256 is one
that the caller trusts, and even then only with the globals that a state dict needs.
"""

import hashlib
import io
import pickle
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from models.errors import WeightsError

_ZIP_START = b"PK\x03\x04"
_PICKLE_START = b"\x80"


def read_weights(path: Path, *, trusted: Collection[str] = ()) -> dict[str, NDArray[np.float32]]:
    """Read the floating-point tensors of a weights file.

    Args:
        path: a safetensors file, or a state dict saved by ``torch.save`` in either of its formats.
            The extension does not matter.
        trusted: the SHA-256 digests of the files that may be unpickled.

    Returns:
        The tensors by name, in the file's order: float32, C-contiguous, each with its own memory.
        Half and double precision are converted. Integer and boolean tensors, such as
        ``num_batches_tracked``, are left out because inference does not use them.

    Raises:
        WeightsError: the file cannot be read, is in another format, is damaged, holds something
            other than tensors, or is a pickle that is not trusted.
    """
    try:
        with path.open("rb") as file:
            head = file.read(9)
            if head[8:] == b"{":
                return _read_safetensors(path)
            if head.startswith((_ZIP_START, _PICKLE_START)):
                return _read_torch(head + file.read(), trusted)
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
                    raise WeightsError(f"has {name!a} in {dtype}, which is not supported")
    except SafetensorError as error:
        raise WeightsError(f"is not valid safetensors: {error}") from error
    return weights


def _read_torch(data: bytes, trusted: Collection[str]) -> dict[str, NDArray[np.float32]]:
    digest = hashlib.sha256(data).hexdigest()
    if digest not in trusted:
        raise WeightsError(
            "is a pickle, which can run any code when it is read, and its SHA-256 is not a known "
            f"one ({digest}). Use the safetensors file of the same weights."
        )
    try:
        tensors, storages = _read_zip(data) if data.startswith(_ZIP_START) else _read_sequence(data)
        return {
            name: _float32(tensor.view(storages[tensor.storage.key]))
            for name, tensor in tensors.items()
            if tensor.storage.dtype.kind == "f"
        }
    except WeightsError:
        raise
    except Exception as error:  # a damaged file can raise nearly anything in pickle and zipfile
        raise WeightsError(f"is damaged, or not a state dict: {error!r}") from error


def _read_zip(data: bytes) -> tuple[Mapping[str, "_Tensor"], dict[str, bytes]]:
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
        unpickler = _Unpickler(io.BytesIO(archive.read(name)))
        tensors = unpickler.load()
        root = name.removesuffix(".pkl")
        return tensors, {key: archive.read(f"{root}/{key}") for key in unpickler.storages}


def _read_sequence(data: bytes) -> tuple[Mapping[str, "_Tensor"], dict[str, bytes]]:
    file = io.BytesIO(data)
    for _ in range(3):  # magic number, protocol, system
        _Unpickler(file).load()
    unpickler = _Unpickler(file)
    tensors = unpickler.load()
    storages = {}
    for key in _Unpickler(file).load():
        (elements,) = struct.unpack("<q", file.read(8))
        size = elements * unpickler.storages[key].dtype.itemsize
        storages[key] = file.read(size)
        if len(storages[key]) != size:
            raise EOFError(f"the storage {key!a} is cut short")
    return tensors, storages


class _Storage(NamedTuple):
    """A flat array that lies outside the pickle, under ``key``."""

    key: str
    dtype: np.dtype[Any]


class _Tensor(NamedTuple):
    """A view of a storage; offset and strides count elements."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: bytes) -> NDArray[Any]:
        """Return the elements; NumPy raises an error if they are not all within ``data``."""
        dtype = self.storage.dtype
        strides = [stride * dtype.itemsize for stride in self.strides]
        return np.ndarray(self.shape, dtype, data, self.offset * dtype.itemsize, strides)


class _Unpickler(pickle.Unpickler):
    """Loads a state dict whose tensors are `_Tensor`, and refuses every other global.

    Attributes:
        storages: the storages that the pickle refers to, by key.
    """

    def __init__(self, file: io.BytesIO) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        found = _GLOBALS.get(f"{module}.{name}")
        if found is None:
            raise WeightsError(f"tries to load {f'{module}.{name}'!a}, which is not allowed")
        return found

    def persistent_load(self, reference: Any) -> _Storage:
        _, dtype, key, *_ = reference
        return self.storages.setdefault(key, _Storage(key, dtype))


_GLOBALS: dict[str, Any] = {
    "collections.OrderedDict": OrderedDict,
    "torch._utils._rebuild_parameter": lambda tensor, *_: tensor,
    "torch._utils._rebuild_tensor_v2": lambda storage, offset, shape, strides, *_: _Tensor(
        storage, offset, shape, strides
    ),
    "torch.DoubleStorage": np.dtype("<f8"),
    "torch.FloatStorage": np.dtype("<f4"),
    "torch.HalfStorage": np.dtype("<f2"),
    "torch.LongStorage": np.dtype("<i8"),
    "torch.IntStorage": np.dtype("<i4"),
    "torch.ShortStorage": np.dtype("<i2"),
    "torch.CharStorage": np.dtype("i1"),
    "torch.ByteStorage": np.dtype("u1"),
    "torch.BoolStorage": np.dtype("?"),
}


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    # A double beyond float32's range becomes an infinity, which the graph's builder refuses.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.array(array, dtype=np.float32, order="C")
