import errno
import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from filelock import FileLock

from models import ChecksumError, ManifestError, Store, StoreError, UnknownModelError
from models.manifest import Int8, Speed

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from models import Manifest, Scaling, Store
store = Store(Path(sys.argv[1]))
names, rounds = sys.argv[2].split(","), int(sys.argv[3])
print("ready", flush=True)
for i in range(rounds):
    for name in names:
        graph = bytes([i % 251]) * 300_000
        manifest = Manifest(
            name=name, scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)), source=str(i % 251)
        )
        store.put(manifest, graph)
"""


def start_writer(store, names, rounds):
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, str(store.root), names, str(rounds)],
        cwd=ROOT,
        stdout=subprocess.PIPE,
    )
    with process.stdout:
        assert process.stdout.readline() == b"ready\n"
    return process


def assert_whole(store, name):
    """Check that the graph and the manifest are of one round."""
    manifest, graph = store.get(name)
    assert hashlib.sha256(graph).hexdigest() == manifest.sha256
    assert graph == bytes([int(manifest.source)]) * 300_000


def files(store):
    return sorted(p.relative_to(store.root).as_posix() for p in store.root.glob("*/*"))


def test_a_model_is_read_as_it_was_put(fresh_store, tiny_manifest, tiny_graph):
    graph = tiny_graph()
    stored = fresh_store.put(tiny_manifest(), graph)
    digest = hashlib.sha256(graph).hexdigest()
    assert stored == tiny_manifest(sha256=digest)
    assert fresh_store.get("tiny") == (stored, graph)
    assert fresh_store.manifest("tiny") == stored
    assert fresh_store.names() == ("tiny",)
    assert files(fresh_store) == [f"graphs/{digest}.onnx", "models/tiny.json"]


def test_an_empty_store(fresh_store):
    assert fresh_store.names() == ()
    assert fresh_store.manifest("tiny") is None
    with pytest.raises(UnknownModelError, match="has: none"):
        fresh_store.get("tiny")
    with pytest.raises(UnknownModelError):
        fresh_store.remove("tiny")
    assert not fresh_store.root.exists()


def test_unused_graphs_are_deleted_unless_another_model_has_them(
    fresh_store, tiny_manifest, tiny_graph
):
    fresh_store.put(tiny_manifest("a"), tiny_graph(1))
    fresh_store.put(tiny_manifest("b"), tiny_graph(1))
    shared = files(fresh_store)[0]
    fresh_store.put(tiny_manifest("a"), tiny_graph(2))
    assert shared in files(fresh_store)
    assert fresh_store.get("b")[1] == tiny_graph(1)
    fresh_store.remove("b")
    assert shared not in files(fresh_store)
    assert fresh_store.names() == ("a",)


def test_a_flipped_byte_is_an_error_until_the_next_put(fresh_store, tiny_manifest, tiny_graph):
    stored = fresh_store.put(tiny_manifest(), tiny_graph())
    path = fresh_store.root / files(fresh_store)[0]
    damaged = bytearray(path.read_bytes())
    damaged[len(damaged) // 2] ^= 1
    path.write_bytes(damaged)
    with pytest.raises(ChecksumError) as caught:
        fresh_store.get("tiny")
    message = str(caught.value)
    assert str(path) in message
    assert stored.sha256 in message
    assert hashlib.sha256(damaged).hexdigest() in message
    assert "warpguard models" in message
    fresh_store.put(tiny_manifest(), tiny_graph())
    assert fresh_store.get("tiny")[1] == tiny_graph()


def test_a_missing_graph(fresh_store, tiny_manifest, tiny_graph):
    fresh_store.put(tiny_manifest(), tiny_graph())
    (fresh_store.root / files(fresh_store)[0]).unlink()
    with pytest.raises(StoreError, match=r"\.onnx"):
        fresh_store.get("tiny")


def test_a_manifest_that_the_store_did_not_write(fresh_store, tiny_manifest, tiny_graph):
    fresh_store.put(tiny_manifest(), tiny_graph())
    path = fresh_store.root / "models" / "tiny.json"
    path.rename(path.with_name("other.json"))
    with pytest.raises(StoreError, match=r"other\.json names the model 'tiny'"):
        fresh_store.get("other")
    path.write_text("{")
    with pytest.raises(ManifestError, match=r"tiny\.json"):
        fresh_store.get("tiny")


@pytest.mark.parametrize("name", ["../evil", "", "a/b", "A", ".hidden", "x" * 65, "a\n", "/etc"])
def test_only_a_valid_name_becomes_a_path(fresh_store, name):
    for method in (fresh_store.get, fresh_store.manifest, fresh_store.remove):
        with pytest.raises(UnknownModelError, match="is not a valid model name"):
            method(name)


def test_a_root_that_is_a_file(tmp_path, tiny_manifest, tiny_graph):
    root = tmp_path / "file"
    root.write_text("")
    with pytest.raises(StoreError, match=r"cannot be written.*WARPGUARD_STORE"):
        Store(root).put(tiny_manifest(), tiny_graph())
    with pytest.raises(StoreError, match="cannot be read"):
        Store(root).get("tiny")


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_stored_models_unchanged(
    fresh_store, tiny_manifest, tiny_graph, monkeypatch, call
):
    fresh_store.put(tiny_manifest(), tiny_graph(1))
    before = files(fresh_store)

    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(StoreError, match=r"No space left on device.*Make room"):
            fresh_store.put(tiny_manifest(), tiny_graph(2))
    assert files(fresh_store) == before
    assert fresh_store.get("tiny")[1] == tiny_graph(1)


def test_a_writer_waits_for_a_lock_and_a_reader_does_not(fresh_store, tiny_manifest, tiny_graph):
    fresh_store.put(tiny_manifest(), tiny_graph(1))
    impatient = Store(fresh_store.root, lock_timeout_s=0.05)
    with FileLock(fresh_store.root / ".lock"):
        with pytest.raises(StoreError, match="Another process"):
            impatient.put(tiny_manifest(), tiny_graph(2))
        assert impatient.get("tiny")[1] == tiny_graph(1)


def test_the_files_of_killed_writers_are_deleted(fresh_store, tiny_manifest, tiny_graph):
    fresh_store.put(tiny_manifest(), tiny_graph(1))
    before = files(fresh_store)
    for folder in ("graphs", "models"):
        (fresh_store.root / folder / ".abc123.tmp").write_bytes(b"half")
    (fresh_store.root / "graphs" / f"{'0' * 64}.onnx").write_bytes(b"without a manifest")
    fresh_store.put(tiny_manifest(), tiny_graph(1))
    assert files(fresh_store) == before


def test_killed_writers_leave_the_old_model_or_the_new_one(fresh_store):
    start_writer(fresh_store, "m", 1).wait()
    rng = random.Random(7)
    for _ in range(8):
        writer = start_writer(fresh_store, "m", 10_000)
        timer = threading.Timer(rng.uniform(0.0, 0.08), writer.kill)
        timer.start()
        while writer.poll() is None:
            assert_whole(fresh_store, "m")
        timer.join()
        assert writer.returncode == -signal.SIGKILL
        assert_whole(fresh_store, "m")
    start_writer(fresh_store, "m", 1).wait()
    assert len(files(fresh_store)) == 2


def test_writers_in_several_processes(fresh_store):
    writers = [start_writer(fresh_store, f"shared,own{i}", 15) for i in range(3)]
    while any(writer.poll() is None for writer in writers):
        if "shared" in fresh_store.names():
            assert_whole(fresh_store, "shared")
    assert [writer.returncode for writer in writers] == [0, 0, 0]
    assert fresh_store.names() == ("own0", "own1", "own2", "shared")
    for name in fresh_store.names():
        assert_whole(fresh_store, name)
        assert fresh_store.manifest(name).source == "14"
    assert len(files(fresh_store)) == 5  # the four models share one graph


def test_default_root(monkeypatch, tmp_path):
    monkeypatch.setenv("WARPGUARD_STORE", str(tmp_path))
    assert Store().root == tmp_path
    monkeypatch.delenv("WARPGUARD_STORE")
    assert Store().root.name == "warpguard"


def test_a_graph_in_int8_lives_as_long_as_its_model(fresh_store, tiny_graph, tiny_manifest):
    int8_bytes = tiny_graph(1)
    int8 = Int8(sha256=hashlib.sha256(int8_bytes).hexdigest())
    stored = fresh_store.put(tiny_manifest("mine", int8=int8), tiny_graph(0), int8_bytes)
    assert fresh_store.get("mine") == (stored, tiny_graph(0))
    assert fresh_store.get("mine", int8=True) == (stored.in_int8, int8_bytes)
    speed = Speed(fp32_ms=2.0, int8_ms=1.0)
    fresh_store.note_speed("mine", "0" * 64, "Some CPU", speed)
    assert fresh_store.manifest("mine") == stored
    fresh_store.note_speed("mine", int8.sha256, "Some CPU", speed)
    assert fresh_store.manifest("mine").int8.speed == {"Some CPU": speed}
    fresh_store.put(tiny_manifest("mine"), tiny_graph(0))
    assert fresh_store.get("mine", int8=True)[1] == tiny_graph(0)
    assert len([*fresh_store.root.glob("graphs/*.onnx")]) == 1
