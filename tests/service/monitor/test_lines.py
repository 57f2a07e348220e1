"""The lines of a file that grows, is rotated, emptied or taken away."""

import os

import pytest

from service.monitor import lines as module
from service.monitor.lines import Lines, StreamError


@pytest.fixture
def file(tmp_path):
    made = tmp_path / "events"
    made.write_bytes(b"first\nsecond\n")
    return made


@pytest.fixture
def follow(file):
    """Begin to read the file."""
    opened = []

    def begin():
        opened.append(Lines(file))
        return opened[-1]

    yield begin
    for each in opened:
        each.close()


def append(file, text):
    with file.open("ab") as opened:
        opened.write(text)


def test_each_line_is_read_once(file, follow):
    lines = follow()
    assert lines.read() == [b"first", b"second"]
    append(file, b"third\nfou")
    assert lines.read() == [b"third"]
    append(file, b"rth\n\n")
    assert lines.read() == [b"fourth"]
    assert lines.read() == []


def test_a_rotated_file_is_read_to_its_end_and_then_the_new_one(file, follow):
    lines = follow()
    lines.read()
    append(file, b"last\n")
    file.rename(file.with_name("events.1"))
    file.write_bytes(b"new\n")
    assert lines.read() == [b"last", b"new"]


def test_an_emptied_file_is_read_from_its_beginning(file, follow):
    lines = follow()
    lines.read()
    file.write_bytes(b"new\n")
    assert lines.read() == [b"new"]


def test_a_file_that_is_away_may_come_again(file, follow):
    lines = follow()
    file.unlink()
    assert lines.read() == [b"first", b"second"]
    for _ in range(2):
        with pytest.raises(StreamError, match="No such file"):
            lines.read()
    file.write_bytes(b"new\n")
    assert lines.read() == [b"new"]


def test_of_a_long_file_the_end_is_read(file, follow, monkeypatch):
    monkeypatch.setattr(module, "MOST_BYTES", 10)
    lines = follow()
    assert lines.read() == [b"second"]


def test_a_line_without_an_end_takes_little_memory(file, follow, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_BYTES", 100)
    lines = follow()
    for _ in range(20):
        append(file, b"x" * 99)
        lines.read()
        assert len(lines._rest) <= 100
    append(file, b"\nnext\n")
    assert lines.read() == [b"next"]


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe"])
def test_only_a_regular_file_is_read(tmp_path, kind):
    path = tmp_path / "it"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    with pytest.raises(StreamError, match=r"cannot be read|not a regular file"):
        Lines(path)
