"""Weights files: what torch and safetensors write is read exactly, everything else is refused."""

import hashlib
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

from models import CATALOG, WeightsError
from models.weights import read_weights

MAGIC, PROTOCOL = 119547037146038801333356, 1001
SYSTEM = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"int": 4}}


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


def read(tmp_path: Path, content: bytes, *, trusted: bool = True) -> dict[str, np.ndarray]:
    path = tmp_path / "weights"
    path.write_bytes(content)
    return read_weights(path, trusted=[hashlib.sha256(content).hexdigest()] if trusted else ())


def refusal(tmp_path: Path, content: bytes, **options: bool) -> str:
    with pytest.raises(WeightsError) as caught:
        read(tmp_path, content, **options)
    message = str(caught.value)
    assert message.startswith(f"The weights file {tmp_path / 'weights'} ")
    return message


class Evil:
    """Pickled as a call of a function."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, ...]:
        return self.call


def sequence(state: bytes, keys: tuple[str, ...] = ()) -> bytes:
    """A file in torch's older format, without storages."""
    parts = [pickle.dumps(part, 2) for part in (MAGIC, PROTOCOL, SYSTEM)]
    return b"".join([*parts, state, pickle.dumps(list(keys), 2)])


def archive(records: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
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


@pytest.mark.parametrize(
    ("name", "tensors"), [("efficientnet-lite0", 247), ("efficientnet-lite2", 322)]
)
def test_reads_the_packaged_weights_as_torch_does(name, tensors):
    entry = CATALOG[name]
    weights = read_weights(entry.weights.path, trusted=entry.accepted)
    reference = expected(torch.load(entry.weights.path, weights_only=True))
    assert list(weights) == list(reference)
    assert len(weights) == tensors
    for key, array in weights.items():
        np.testing.assert_array_equal(array, reference[key], err_msg=key)


def test_needs_no_torch(tmp_path):
    path = tmp_path / "weights.pth"
    path.write_bytes(save(example_state(), "sequence"))
    code = (
        "import hashlib, sys, pathlib; from models.weights import read_weights\n"
        "path = pathlib.Path(sys.argv[1])\n"
        "trusted = [hashlib.sha256(path.read_bytes()).hexdigest()]\n"
        "assert len(read_weights(path, trusted=trusted)) == 10\n"
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


@pytest.mark.parametrize("kind", ["bare", "sequence", "zip"])
@pytest.mark.parametrize("trusted", [False, True])
def test_a_pickle_runs_no_command(tmp_path, kind, trusted):
    marker = tmp_path / "marker"
    program = pickle.dumps({"w": Evil(os.system, f"touch {marker}")})
    content = {
        "bare": program,
        "sequence": sequence(program),
        "zip": archive({"data.pkl": program}),
    }[kind]
    message = refusal(tmp_path, content, trusted=trusted)
    assert (f"tries to load '{os.system.__module__}.system'" in message) == trusted
    assert not marker.exists()


@pytest.mark.parametrize("kind", ["sequence", "zip"])
def test_a_pickle_that_is_not_trusted_is_refused(tmp_path, kind):
    content = save(example_state(), kind)
    message = refusal(tmp_path, content, trusted=False)
    assert hashlib.sha256(content).hexdigest() in message
    assert "Use the safetensors file of the same weights" in message


def test_safetensors_need_no_trust(tmp_path):
    assert len(read(tmp_path, save(example_state(), "safetensors"), trusted=False)) == 10


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (b"cos\nsystem\n(S'true'\ntR.", "tries to load 'os.system'"),
        (b"cbuiltins\neval\n.", "tries to load 'builtins.eval'"),
        (b"ccollections\nOrderedDict.__init__\n.", "'collections.OrderedDict.__init__'"),
        (b"ctorch\nBFloat16Storage\n.", "tries to load 'torch.BFloat16Storage'"),
        (b"(ios\nsystem\n.", "tries to load 'os.system'"),
        (b"ctorch\nFloatStorage\n)R.", "not a state dict"),
        (b"ctorch._utils\n_rebuild_tensor_v2\n)R.", "not a state dict"),
        (b"K\x01Q.", "not a state dict"),
        (b"K\x01.", "not a state dict"),
        (b"}X\x01\x00\x00\x00wK\x05s.", "not a state dict"),
        (b".", "not a state dict"),
        (b"h\x05.", "not a state dict"),
        (b"X\xff\xff\xff\xffabc", "not a state dict"),
    ],
)
def test_refuses_a_pickle_that_is_not_a_state_dict(tmp_path, program, said):
    assert said in refusal(tmp_path, sequence(program))
    assert said in refusal(tmp_path, archive({"data.pkl": program}))


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


@pytest.mark.parametrize("kind", ["sequence", "zip", "safetensors"])
def test_a_damaged_file_is_refused_wherever_it_is_cut(tmp_path, kind):
    content = small(kind)
    assert len(read(tmp_path, content)) == 3
    for length in range(len(content)):
        refusal(tmp_path, content[:length])
