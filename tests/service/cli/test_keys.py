import pytest

from service.auth.key_file import read


def test_new_shows_a_key_and_its_line(warpguard, tmp_path):
    output = warpguard("keys", "new", "shop", "--rate", "5", "--burst", "20").out
    key, line = output.splitlines()
    assert key.startswith("wg_")
    (tmp_path / "keys.txt").write_text(line)
    (entry,) = read(tmp_path / "keys.txt")
    assert (entry.name, entry.rate, entry.burst) == ("shop", 5, 20)


def test_new_adds_the_line_to_a_file(warpguard, tmp_path):
    file = ("--file", tmp_path / "keys.txt")
    keys = [warpguard("keys", "new", name, *file).out for name in ("shop", "app")]
    assert [key.count("\n") for key in keys] == [1, 1]
    assert [entry.name for entry in read(tmp_path / "keys.txt")] == ["shop", "app"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("new a/b", 1, "Invalid key name 'a/b'"),
        ("new shop --rate 0", 1, "above 0"),
        ("new shop --file missing/keys.txt", 1, "cannot be written"),
        ("new", 2, "NAME"),
        ("", 2, "ACTION"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, arguments, code, message):
    printed = warpguard("keys", *arguments.split(), code=code)
    assert message in printed.err
    assert printed.out == ""
