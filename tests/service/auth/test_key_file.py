"""The file of API keys: its lines, and how keys are added and removed."""

import os
import re
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from service.auth import key_file
from service.auth.key_file import (
    KeyEntry,
    KeyFileError,
    append,
    digest_of,
    new,
    parse,
    read,
    remove,
)
from service.auth.keys import Keys

A, B = "a" * 64, "b" * 64


def test_a_new_key_is_long_and_random_and_only_its_digest_is_in_its_line():
    first, second = new("shop"), new("shop")
    assert first[0] != second[0]
    for key, line in (first, second):
        assert key.startswith(key_file.PREFIX)
        assert len(key) == len(key_file.PREFIX) + 43  # 256 bits in base 64
        assert key not in line
        assert line == f"shop {digest_of(key)}"
    assert new("shop", "rate=5 burst=0.5")[1].endswith(" rate=5 burst=0.5")


@pytest.mark.parametrize("name", ["", "a b", "#", "ä", "x" * 65, "-x", "a\nb"])
def test_a_name_that_is_not_valid_is_refused(name):
    with pytest.raises(KeyFileError, match=re.escape(f"Invalid key name {name!r}: use letters,")):
        new(name)


def test_a_file_has_comments_and_blank_lines():
    text = f"# the shop's\n\nshop {A} rate=5 burst=20 # until May\n  app  {B}\n"
    assert parse(text, "keys.txt") == (KeyEntry("shop", A, 5, 20), KeyEntry("app", B, None, None))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("shop", "SHA-256"),
        (f"shop {A[1:]}", "SHA-256"),
        (f"shop {A.upper()}", "SHA-256"),
        ("shop wg_the-key-itself", "SHA-256"),
        (f"sh/op {A}", "name"),
        (f"shop {A} rate", "above 0"),
        (f"shop {A} rate=0", "above 0"),
        (f"shop {A} rate=-1", "above 0"),
        (f"shop {A} rate=nan", "above 0"),
        (f"shop {A} rate=inf", "above 0"),
        (f"shop {A} speed=1", "above 0"),
        (f"shop {A} alarm=", "same-picture or concentration"),
        (f"shop {A} alarm=noise", "same-picture or concentration"),
        (f"shop {A} alarm=off,concentration", "same-picture or concentration"),
        (f"other {B}", "an earlier line has this name or this key already"),
        (f"first {A}", "an earlier line has this name or this key already"),
    ],
)
def test_a_line_that_is_not_valid_is_named_by_its_number_alone(line, problem):
    with pytest.raises(KeyFileError) as caught:
        parse(f"first {B}\n# comment\n{line}\n", "keys.txt")
    assert str(caught.value).startswith("keys.txt, line 3: ")
    assert problem in str(caught.value)
    assert "wg_" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00"])
def test_a_file_without_keys_is_refused(tmp_path, content):
    (tmp_path / "keys.txt").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"keys\.txt"):
        read(tmp_path / "keys.txt")
    with pytest.raises(KeyFileError, match="No such file"):
        read(tmp_path / "missing.txt")


def test_appending_replaces_the_whole_file(tmp_path, monkeypatch):
    path, link = tmp_path / "keys.txt", tmp_path / "link.txt"
    link.symlink_to(path)
    append(path, f"shop {A}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    path.write_text(path.read_text().rstrip("\n"))  # as an editor may leave it
    before = path.stat().st_ino
    append(link, f"app {B} rate=5")
    assert [entry.name for entry in read(path)] == ["shop", "app"]
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    with pytest.raises(KeyFileError, match=r"has a key named 'shop'\. Edit its line"):
        append(path, f"shop {'c' * 64}")

    def full(_):
        raise OSError(28, "No space left on device")

    text = path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        append(path, f"more {'d' * 64}")
    assert path.read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.txt", "link.txt"]


def test_keys_that_are_added_at_once_are_all_kept(tmp_path, monkeypatch):
    """Each has read the file before any has written it, if nothing is locked."""
    path = tmp_path / "keys.txt"
    append(path, new("first")[1])
    barrier, parse_file = threading.Barrier(8), key_file.parse

    def slow(text, source):
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.05)
        return parse_file(text, source)

    monkeypatch.setattr(key_file, "parse", slow)
    lines = [f"key{number} {digest_of(str(number))}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append(path, line), lines))
        assert len(read(path)) == 9
        list(pool.map(lambda number: remove(path, f"key{number}"), range(8)))
    assert [entry.name for entry in read(path)] == ["first"]


def test_a_file_keeps_its_owner(tmp_path, monkeypatch):
    path = tmp_path / "keys.txt"
    append(path, f"shop {A}")
    owners = []
    monkeypatch.setattr(os, "chown", lambda file, *owner: owners.append((Path(file).name, *owner)))
    append(path, f"app {B}")
    remove(path, "shop")
    own = path.stat()
    assert [owner[1:] for owner in owners] == [(own.st_uid, own.st_gid)] * 2
    assert "keys.txt" not in [name for name, *_ in owners]  # before the file takes its place

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    text = path.read_text()
    with pytest.raises(KeyFileError) as caught:
        append(path, f"more {'c' * 64}")
    assert str(caught.value) == (
        f"{path} cannot be replaced by a file of the same owner, user {own.st_uid} and group "
        f"{own.st_gid}: Operation not permitted. Run the command as that user or as root."
    )
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["keys.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_stays_that_user_s(tmp_path):
    path = tmp_path / "keys.txt"
    append(path, f"shop {A}")
    os.chown(path, 10001, 10002)
    append(path, f"app {B}")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10001, 10002, 0o600)


def test_a_removed_key_takes_its_line_alone(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(f"# shop\nshop {A} rate=5\n\n  app  {B} # shop\n")
    path.chmod(0o640)
    remove(path, "app")
    assert path.read_text() == f"# shop\nshop {A} rate=5\n\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("shpo", "has no key named 'shpo'; the nearest name is 'shop'"),
        ("zzz", "the nearest name is "),
        ("", "has no key named ''"),
    ],
)
def test_an_unknown_key_is_not_removed(tmp_path, name, problem):
    path = tmp_path / "keys.txt"
    path.write_text(f"shop {A}\napp {B}\n")
    with pytest.raises(KeyFileError, match=problem):
        remove(path, name)
    assert len(read(path)) == 2


def test_the_only_key_is_not_removed(tmp_path):
    """A server with a file without keys would go on with the key."""
    (tmp_path / "keys.txt").write_text(f"shop {A}\n")
    with pytest.raises(KeyFileError, match="First make another key"):
        remove(tmp_path / "keys.txt", "shop")
    assert len(read(tmp_path / "keys.txt")) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_file_that_is_not_regular_or_too_large_is_refused(tmp_path):
    path = tmp_path / "keys.txt"
    os.mkfifo(path)
    for work in (lambda: read(path), lambda: append(path, f"shop {A}"), lambda: remove(path, "x")):
        with pytest.raises(KeyFileError, match="it is not a regular file"):
            work()
    with pytest.raises(KeyFileError, match="Is a directory"):
        read(tmp_path)
    with pytest.raises(KeyFileError, match="it is not a regular file"):
        read(Path("/dev/zero"))
    path.unlink()
    path.write_text(f"shop {A}\n" + "#" * key_file.MOST_BYTES)
    with pytest.raises(KeyFileError, match="it has more than 1048576 bytes, the largest size"):
        read(path)


def test_the_command_makes_valid_keys(tmp_path):
    from service.cli.main import main

    path = tmp_path / "keys.txt"
    assert main(["keys", "new", "shop", "--file", str(path), "--rate", "5"]) == 0
    assert main(["keys", "new", "app", "--file", str(path)]) == 0
    assert main(["keys", "new", "app", "--file", str(path)]) == 1
    assert [(entry.name, entry.rate) for entry in read(path)] == [("shop", 5), ("app", None)]


def test_the_command_shows_a_key_once(tmp_path, capsys):
    from service.cli.main import main

    main(["keys", "new", "shop"])
    key, line = capsys.readouterr().out.splitlines()
    assert line == f"shop {digest_of(key)}"
    main(["keys", "new", "shop", "--file", str(tmp_path / "keys.txt")])
    (key,) = capsys.readouterr().out.splitlines()
    assert Keys(tmp_path / "keys.txt", None).find(key).entry.name == "shop"
    assert main(["keys", "new", "shop", "--rate", "0"]) == 1
    assert "above 0" in capsys.readouterr().err
