import json

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


def test_list_shows_names_and_rates_and_never_a_digest(warpguard, tmp_path):
    file = ("--file", tmp_path / "keys.txt")
    warpguard("keys", "new", "shop", "--rate", "5", "--burst", "20", *file)
    warpguard("keys", "new", "app", *file)
    warpguard("keys", "new", "camera", "--alarm", "concentration", *file)
    warpguard("keys", "new", "scanner", "--alarm", "off", *file)
    table = warpguard("keys", "list", *file).out
    rows = [line.strip("│").split("│") for line in table.splitlines() if line.startswith("│")]
    assert [[cell.strip() for cell in row] for row in rows] == [
        ["shop", "5", "20", ""],
        ["app", "", "", ""],
        ["camera", "", "", "concentration"],
        ["scanner", "", "", "off"],
    ]
    listed = warpguard("keys", "list", *file, "--json").out
    assert json.loads(listed) == [
        {"name": "shop", "rate": 5, "burst": 20, "alarm": None},
        {"name": "app", "rate": None, "burst": None, "alarm": None},
        {"name": "camera", "rate": None, "burst": None, "alarm": ["concentration"]},
        {"name": "scanner", "rate": None, "burst": None, "alarm": []},
    ]
    for entry in read(tmp_path / "keys.txt"):
        assert entry.digest[:8] not in table + listed


def test_revoke_removes_a_key(warpguard, tmp_path):
    file = ("--file", tmp_path / "keys.txt")
    for name in ("shop", "app"):
        warpguard("keys", "new", name, *file)
    assert warpguard("keys", "revoke", "shop", *file).out == "shop is revoked\n"
    assert [entry.name for entry in read(tmp_path / "keys.txt")] == ["app"]
    printed = warpguard("keys", "revoke", "ap", *file, code=1)
    assert "no key named 'ap'; the nearest name is 'app'" in printed.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("new a/b", 1, "Invalid key name 'a/b'"),
        ("new shop --rate 0", 1, "above 0"),
        ("new shop --alarm noise", 1, "same-picture"),
        ("new shop --file missing/keys.txt", 1, "cannot be written"),
        ("new", 2, "NAME"),
        ("list", 2, "--file"),
        ("list --file missing.txt", 1, "No such file"),
        ("revoke shop", 2, "--file"),
        ("revoke --file keys.txt", 2, "NAME"),
        ("revoke shop --file missing.txt", 1, "No such file"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, arguments, code, message):
    printed = warpguard("keys", *arguments.split(), code=code)
    assert message in printed.err
    assert printed.out == ""
