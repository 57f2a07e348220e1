import json
import subprocess
import sys

import pytest


@pytest.fixture
def red(make_photograph, tmp_path):
    path = tmp_path / "[red].png"
    path.write_bytes(make_photograph("red"))
    return path


@pytest.fixture
def colours(colour_store):
    return ("--store", colour_store, "--model", "colours")


def test_json(warpguard, dalmatian, goose):
    output = warpguard("predict", dalmatian, goose, "--draws", 4, "--top-k", 2, "--json").out
    first, second = json.loads(output)
    assert first["file"] == str(dalmatian)
    assert (first["predictions"][0]["index"], second["predictions"][0]["index"]) == (251, 99)
    assert len(first["predictions"]) == 2
    assert 0 < first["agreement"] <= 1


def test_a_table_goes_on_after_a_bad_file(warpguard, red, colours, tmp_path):
    broken = tmp_path / "broken.png"
    broken.write_bytes(red.read_bytes()[:500])
    printed = warpguard("predict", "missing.jpg", broken, red, *colours, code=1)
    lines = printed.out.splitlines()
    assert "No such file" in printed.out
    assert "cut short" in printed.out
    assert [name in "".join(lines) for name in ("red", "green", "blue")] == [True, True, True]
    assert sum("[red].png" in line for line in lines) == 1
    assert sum("100%" in line for line in lines) == 1


def test_bad_files_as_json(warpguard, red, colours):
    output = warpguard("predict", "missing.jpg", red, "--json", *colours, code=1).out
    first, second = json.loads(output)
    assert first == {"file": "missing.jpg", "error": "No such file or directory"}
    assert second["predictions"][0]["label"] == "red"


def test_it_ignores_the_variables_of_a_server(warpguard, red, colours, monkeypatch):
    variables = {"MODEL": "nonsense", "DEFENSE": "webp", "MAX_PIXELS": "64", "STORE": "/missing"}
    for name, value in variables.items():
        monkeypatch.setenv(f"WARPGUARD_{name}", value)
    (one,) = json.loads(warpguard("predict", red, "--json", *colours).out)
    assert one["predictions"][0]["label"] == "red"


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("x.jpg --model nonsense", 1, "efficientnet-lite2"),
        ("x.jpg --model inception-v3", 1, "models pull inception-v3"),
        ("x.jpg --defense fd+webp", 2, "Defences: fd, rdg, rand"),
        ("x.jpg --draws 17", 2, "--draws must be between 1 and 16"),
        ("x.jpg --top-k 0", 2, "--top-k must be between 1 and 1000"),
        ("", 2, "FILE"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, arguments, code, message):
    printed = warpguard("predict", *arguments.split(), code=code)
    assert message in printed.err
    assert printed.out == ""


def test_in_a_process_of_its_own(red, colours):
    command = [sys.executable, "-W", "error", "-m", "service", "predict", red, *colours, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)[0]["predictions"][0]["label"] == "red"
    assert done.stderr == ""
