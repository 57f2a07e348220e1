"""Files that are written whole, and folders in which one process works."""

from contextlib import nullcontext

import pytest

from harness.cli.main import main
from harness.errors import RunError
from harness.files import locked, write


def test_a_file_that_cannot_be_written_is_named_and_unchanged(tmp_path):
    write(tmp_path / "a" / "b", b"first")
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"file/b cannot be written: (Not a dir|File exists)"):
        write(tmp_path / "file" / "b", b"second")
    assert (tmp_path / "a" / "b").read_bytes() == b"first"


def test_a_full_disk_is_reported_with_the_file(tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("harness.files.write_atomically", full)
    with pytest.raises(RunError, match=r"run\.json cannot be written: No space left on device\.$"):
        write(tmp_path / "run.json", b"")


@pytest.mark.parametrize(
    ("folder", "command"),
    [
        ("quick", ["quick", "--endpoint", "http://x", "--out"]),
        ("tables/smoke", ["reproduce", "table2", "--scale", "smoke", "--out"]),
    ],
)
def test_two_commands_do_not_share_a_folder(folder, command, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("harness.cli.commands.HttpTarget", lambda *_, **__: nullcontext())
    with locked(tmp_path / folder):
        assert main([*command, str(tmp_path / folder.partition("/")[0])]) == 1
    assert "Another process works in" in capsys.readouterr().err
    with locked(tmp_path / folder):
        pass
