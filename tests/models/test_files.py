import errno
import os
import stat

import pytest

from models import write_atomically


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("data", [b"content", lambda file: file.write(b"content")])
@pytest.mark.parametrize("old", [None, b"a longer old content"])
def test_the_file_has_the_content_and_nothing_else_is_left(tmp_path, data, old):
    path = tmp_path / "file"
    if old is not None:
        path.write_bytes(old)
    write_atomically(path, data)
    assert path.read_bytes() == b"content"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize(("options", "mode"), [({}, 0o644), ({"mode": 0o600}, 0o600)])
def test_the_mode_does_not_depend_on_the_umask(tmp_path, options, mode):
    before = os.umask(0o077)
    try:
        write_atomically(tmp_path / "file", b"", **options)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == mode


def test_a_reader_keeps_the_old_content(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with path.open("rb") as reader:
        write_atomically(path, b"new")
        assert reader.read() == b"old"


def test_the_old_file_is_in_place_while_the_new_one_is_written(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def write(file):
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
        assert len(names(tmp_path)) == 2

    write_atomically(path, write)
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_writer_that_fails_leaves_the_old_file_alone(tmp_path, error):
    path = tmp_path / "file"
    path.write_bytes(b"old")

    def fail(file):
        file.write(b"half")
        raise error

    with pytest.raises(error):
        write_atomically(path, fail)
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["file"]


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_nothing(tmp_path, monkeypatch, call):
    def fail(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            write_atomically(tmp_path / "file", b"content")
    assert names(tmp_path) == []


def test_the_file_and_then_its_folder_are_synchronised(tmp_path, monkeypatch):
    synchronised = []

    def fsync(descriptor):
        kind = "folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file"
        synchronised.append((kind, names(tmp_path) == ["file"]))

    monkeypatch.setattr(os, "fsync", fsync)
    write_atomically(tmp_path / "file", b"content")
    assert synchronised == [("file", False), ("folder", True)]


def test_a_missing_folder_is_made_unless_the_caller_objects(tmp_path):
    path = tmp_path / "a" / "b" / "file"
    with pytest.raises(FileNotFoundError):
        write_atomically(path, b"content", parents=False)
    assert names(tmp_path) == []
    write_atomically(path, b"content")
    assert path.read_bytes() == b"content"
