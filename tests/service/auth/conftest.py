"""A clock that a test moves, and a file with one key."""

import time

import pytest

from service.auth.key_file import append, new


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def keys(tmp_path):
    """A file with one key; gives the file and the key."""
    key, line = new("shop")
    path = tmp_path / "keys.txt"
    append(path, line)
    return path, key
