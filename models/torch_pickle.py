"""The pickle inside torch's weights files, read without torch and without running it.

A pickle is a program. This one is run by a stack machine that knows the opcodes which
``torch.save`` writes for a state dict and four kinds of result: plain data, dicts, storages and
tensors. Anything else the program asks for is refused by name. Python's own unpickler cannot be
restricted as far: a few bytes make it allocate gigabytes for its memo, or overflow the stack while
it hashes a nested tuple.

The opcodes are documented in the standard library's ``pickletools``; what torch makes of them, in
https://docs.pytorch.org/docs/stable/notes/serialization.html.
"""

import io
import math
import pickle
import struct
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from models.errors import WeightsError

_MAX_OPCODES = 1_000_000  # a state dict of 1000 tensors takes about 40 000
_MAX_DIMENSIONS = 8
# The integer that follows an opcode: a value, a length or a place in the memo.
_ARGUMENTS = {
    pickle.PROTO: "<B",
    pickle.FRAME: "<Q",
    pickle.BININT: "<i",
    pickle.BININT1: "<B",
    pickle.BININT2: "<H",
    pickle.LONG1: "<B",
    pickle.SHORT_BINUNICODE: "<B",
    pickle.BINUNICODE: "<I",
    pickle.BINPUT: "<B",
    pickle.LONG_BINPUT: "<I",
    pickle.BINGET: "<B",
    pickle.LONG_BINGET: "<I",
}
_DTYPES: dict[str, np.dtype[Any]] = {
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
_GLOBALS = _DTYPES.keys() | {
    "collections.OrderedDict",
    "torch._utils._rebuild_tensor_v2",
    "torch._utils._rebuild_parameter",
}


class Reader:
    """A file that is never asked for more bytes than it has.

    Attributes:
        size: its length in bytes.
        left: how many of them have not been taken yet.
    """

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.size = self.left = file.seek(0, io.SEEK_END)
        file.seek(0)

    def take(self, count: int) -> bytes:
        """Read exactly ``count`` bytes.

        Raises:
            WeightsError: so many are not left.
        """
        if not 0 <= count <= self.left:
            raise WeightsError(f"is cut short: {count} bytes are announced, {self.left} are left")
        self.left -= count
        return self._file.read(count)

    def integer(self, code: str) -> int:
        """Read one integer, ``code`` being its format in the ``struct`` module's terms.

        Raises:
            WeightsError: the file ends within it.
        """
        value: int
        (value,) = struct.unpack(code, self.take(struct.calcsize(code)))
        return value

    def line(self) -> str:
        """Read up to a line feed, which is left out.

        Raises:
            WeightsError: there is none within 256 bytes.
        """
        line = self._file.readline(256)
        self.left -= len(line)
        if not line.endswith(b"\n"):
            raise WeightsError("has a name without an end")
        return line[:-1].decode(errors="backslashreplace")


@dataclass(frozen=True)
class Storage:
    """A flat run of elements that lies outside the pickle, under ``key``."""

    key: str
    dtype: np.dtype[Any]
    elements: int

    @property
    def nbytes(self) -> int:
        """Its size in bytes."""
        return self.elements * self.dtype.itemsize

    @property
    def is_float(self) -> bool:
        """Whether its elements are floating-point numbers."""
        return self.dtype.kind == "f"


@dataclass(frozen=True)
class Tensor:
    """A view of a storage, known to lie within it; offset and strides count elements."""

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def view(self, data: bytes) -> NDArray[Any]:
        """The tensor's elements in its storage's bytes: read-only, of the storage's dtype."""
        itemsize = self.storage.dtype.itemsize
        strides = [stride * itemsize for stride in self.strides]
        return np.ndarray(self.shape, self.storage.dtype, data, self.offset * itemsize, strides)


@dataclass(frozen=True)
class _Global:
    """What the pickle refers to by name; it stays a name."""

    name: str


class StateDictUnpickler:
    """Runs one pickle as far as a state dict goes.

    Attributes:
        storages: the storages that the pickle referred to, by key.
    """

    def __init__(self, reader: Reader) -> None:
        self.storages: dict[str, Storage] = {}
        self._reader = reader
        self._stack: list[Any] = []
        self._marked: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def load(self) -> Any:
        """Run the pickle that begins at the reader's position.

        Returns:
            What it makes, of: None, bool, int, str, list, tuple, dict with str keys, `Tensor`,
            `Storage`. Nothing promises that nested values are few or finite in depth, so they are
            neither to be hashed nor printed.

        Raises:
            WeightsError: it is damaged, or does something that a state dict does not need.
        """
        try:
            for _ in range(_MAX_OPCODES):
                opcode = self._reader.take(1)
                if opcode == pickle.STOP:
                    return self._stack.pop()
                self._run(opcode)
        except LookupError as error:
            raise WeightsError("has a pickle that uses what it never made") from error
        except UnicodeDecodeError as error:
            raise WeightsError("has a string that is not UTF-8") from error
        raise WeightsError(f"has a pickle of more than {_MAX_OPCODES} opcodes")

    def _run(self, opcode: bytes) -> None:
        reader, stack, memo = self._reader, self._stack, self._memo
        argument = reader.integer(_ARGUMENTS[opcode]) if opcode in _ARGUMENTS else 0
        match opcode:
            case pickle.PROTO | pickle.FRAME:
                pass
            case pickle.NONE:
                stack.append(None)
            case pickle.NEWTRUE:
                stack.append(True)
            case pickle.NEWFALSE:
                stack.append(False)
            case pickle.BININT | pickle.BININT1 | pickle.BININT2:
                stack.append(argument)
            case pickle.LONG1:
                stack.append(int.from_bytes(reader.take(argument), "little", signed=True))
            case pickle.SHORT_BINUNICODE | pickle.BINUNICODE:
                stack.append(reader.take(argument).decode())
            case pickle.BINPUT | pickle.LONG_BINPUT:
                memo[argument] = stack[-1]
            case pickle.MEMOIZE:
                memo[len(memo)] = stack[-1]
            case pickle.BINGET | pickle.LONG_BINGET:
                stack.append(memo[argument])
            case pickle.EMPTY_TUPLE:
                stack.append(())
            case pickle.EMPTY_LIST:
                stack.append([])
            case pickle.EMPTY_DICT:
                stack.append({})
            case pickle.MARK:
                self._marked.append(stack)
                self._stack = []
            case pickle.TUPLE1 | pickle.TUPLE2 | pickle.TUPLE3:
                count = opcode[0] - pickle.TUPLE1[0] + 1
                stack.append(tuple([stack.pop() for _ in range(count)][::-1]))
            case pickle.TUPLE:
                items = self._since_mark()
                self._stack.append(tuple(items))
            case pickle.APPEND:
                self._append([stack.pop()])
            case pickle.APPENDS:
                self._append(self._since_mark())
            case pickle.SETITEM:
                value, key = stack.pop(), stack.pop()
                self._set_items([key, value])
            case pickle.SETITEMS:
                self._set_items(self._since_mark())
            case pickle.GLOBAL:
                stack.append(_find(reader.line(), reader.line()))
            case pickle.STACK_GLOBAL:
                name, module = stack.pop(), stack.pop()
                stack.append(_find(module, name))
            case pickle.REDUCE:
                arguments, function = stack.pop(), stack.pop()
                stack.append(_call(function, arguments))
            case pickle.BINPERSID:
                stack.append(self._refer(stack.pop()))
            case pickle.BUILD:
                stack.pop()  # an OrderedDict's attributes: torch keeps module versions there
                if not isinstance(stack[-1], dict):
                    raise WeightsError(f"sets attributes of {kind(stack[-1])}")
            case _:
                raise WeightsError(f"uses the pickle opcode {opcode!a}, which no state dict needs")

    def _since_mark(self) -> list[Any]:
        items, self._stack = self._stack, self._marked.pop()
        return items

    def _append(self, items: list[Any]) -> None:
        target = self._stack[-1]
        if not isinstance(target, list):
            raise WeightsError(f"appends to {kind(target)}")
        target.extend(items)

    def _set_items(self, items: list[Any]) -> None:
        target, keys, values = self._stack[-1], items[::2], items[1::2]
        if not isinstance(target, dict):
            raise WeightsError(f"sets an item of {kind(target)}")
        if len(keys) != len(values) or not all(isinstance(key, str) for key in keys):
            raise WeightsError("has a dict whose keys are not strings")
        target.update(zip(keys, values, strict=True))

    def _refer(self, reference: object) -> Storage:
        match reference:
            case ("storage", _Global(name), str(key), str(), int(elements), *view) if (
                name in _DTYPES and elements >= 0 and all(part is None for part in view)
            ):
                storage = Storage(key, _DTYPES[name], elements)
            case _:
                raise WeightsError("refers to something that is not a storage of numbers")
        if self.storages.setdefault(key, storage) != storage:
            raise WeightsError(f"describes the storage {quote(key)} in two ways")
        return storage


def kind(value: object) -> str:
    """What a value is, for a message: the value itself may be endless."""
    return quote(value.name) if isinstance(value, _Global) else type(value).__name__


def quote(text: str) -> str:
    """A string from a file as it may be put into a message: short and in ASCII."""
    return ascii(text if len(text) <= 100 else f"{text[:97]}...")


def _find(module: object, name: object) -> _Global:
    full_name = f"{module}.{name}" if isinstance(module, str) and isinstance(name, str) else ""
    if full_name not in _GLOBALS:
        raise WeightsError(f"tries to load {quote(full_name)}, which no state dict needs")
    return _Global(full_name)


def _call(function: object, arguments: object) -> object:
    match function, arguments:
        case _Global("collections.OrderedDict"), ():
            return {}
        case _Global("torch._utils._rebuild_parameter"), (Tensor() as tensor, *_):
            return tensor
        case (
            _Global("torch._utils._rebuild_tensor_v2"),
            (Storage() as storage, int(offset), tuple(shape), tuple(strides), *_),
        ):
            return _rebuild(storage, offset, shape, strides)
    raise WeightsError(f"calls {kind(function)} with arguments that do not fit")


def _rebuild(
    storage: Storage, offset: int, shape: tuple[Any, ...], strides: tuple[Any, ...]
) -> Tensor:
    if len(shape) != len(strides) or len(shape) > _MAX_DIMENSIONS:
        raise WeightsError(f"has a tensor of {len(shape)} sizes and {len(strides)} strides")
    if not all(isinstance(n, int) and n >= 0 for n in (offset, *shape, *strides)):
        raise WeightsError("has a tensor whose offset, shape or strides are not counts")
    if not math.prod(shape):
        return Tensor(storage, 0, shape, (0,) * len(shape))
    steps = tuple(stride if size > 1 else 0 for size, stride in zip(shape, strides, strict=True))
    last = offset + sum((size - 1) * step for size, step in zip(shape, steps, strict=True))
    if last >= storage.elements:
        raise WeightsError(
            f"has a tensor that reaches element {last} of the {storage.elements} "
            f"in the storage {quote(storage.key)}"
        )
    return Tensor(storage, offset, shape, steps)
