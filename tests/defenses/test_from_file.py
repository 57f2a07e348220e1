import copy
import os
import pickle
from random import Random

import numpy as np
import pytest

from defenses import DefenseError, Pipeline, onnx_network, patch_bank

WRITTEN = ["quilt(bank=mine)", "onnx(file=mine)"]
READERS = {"quilt": patch_bank.load, "onnx": onnx_network.load}


@pytest.fixture
def mine(files, tmp_path, monkeypatch):
    """Write a file for a given operation to ``mine`` in a new folder."""
    monkeypatch.chdir(tmp_path)

    def put(written):
        kind = "bank.npz" if written.startswith("quilt") else "blur.onnx"
        (tmp_path / "mine").write_bytes((files / kind).read_bytes())
        return tmp_path / "mine"

    return put


@pytest.mark.parametrize("written", WRITTEN)
def test_a_file_is_read_once_until_it_changes(written, mine):
    path = mine(written)
    reader = READERS[written.partition("(")[0]]
    reader.cache_clear()
    for _ in range(3):
        Pipeline.parse(written)
    assert reader.cache_info().misses == 1
    os.utime(path, ns=(1, 1))
    Pipeline.parse(written)
    assert reader.cache_info().misses == 2


@pytest.mark.parametrize("written", WRITTEN)
def test_what_was_read_stays_when_the_file_goes(written, mine):
    path = mine(written)
    pipeline = Pipeline.parse(written)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    before = pipeline(image, Random(0))
    path.unlink()
    np.testing.assert_array_equal(pipeline(image, Random(0)), before)
    with pytest.raises(DefenseError, match="mine cannot be read"):
        Pipeline.parse(written)


@pytest.mark.parametrize("written", WRITTEN)
def test_a_copy_works(written, mine):
    mine(written)
    pipeline = Pipeline.parse(written)
    image = np.random.default_rng(0).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    for other in (copy.deepcopy(pipeline), pickle.loads(pickle.dumps(pipeline))):
        assert other == pipeline
        np.testing.assert_array_equal(other(image, Random(0)), pipeline(image, Random(0)))


@pytest.mark.parametrize("written", WRITTEN)
def test_the_path_may_begin_at_home(written, mine, monkeypatch):
    monkeypatch.setenv("HOME", str(mine(written).parent))
    at_home = written.replace("mine", "~/mine")
    assert str(Pipeline.parse(at_home)) == at_home


@pytest.mark.parametrize("written", WRITTEN)
@pytest.mark.parametrize("content", [b"", b"PK\x05\x06 but no more", b"\0" * 1000, b"text\n"])
def test_a_file_of_another_kind_is_refused(written, content, mine):
    mine(written).write_bytes(content)
    with pytest.raises(DefenseError, match=r"mine (is not a valid ONNX|cannot be read as a bank)"):
        Pipeline.parse(written)


@pytest.mark.parametrize("written", WRITTEN)
def test_only_a_regular_file_is_opened(written, tmp_path, monkeypatch):
    """Opening a pipe would block."""
    monkeypatch.chdir(tmp_path)
    os.mkfifo(tmp_path / "mine")
    with pytest.raises(DefenseError, match="it is not a regular file"):
        Pipeline.parse(written)
