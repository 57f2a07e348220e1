import json

import numpy as np
import pytest
from PIL import Image


def test_a_list(warpguard):
    listed = warpguard("defenses").out
    assert "Random Distortion over Grids" in listed
    assert [line.split()[0] for line in listed.splitlines()[1:4]] == ["fd", "rdg", "rand"]


def test_json(warpguard):
    listed = json.loads(warpguard("defenses", "--json").out)
    compared = ["bitdepth", "jpeg", "shield", "crop", "deflect", "tvm", "menet", "quilt", "onnx"]
    assert [entry["name"] for entry in listed] == ["fd", "rdg", "rand", *compared]
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["rdg"]["parameters"]["delta"] == 0.15
    assert by_name["rdg"]["required"] == []
    assert by_name["quilt"]["parameters"] == {"bank": None, "nearest": 10, "overlap": 2}
    assert by_name["quilt"]["required"] == ["bank"]
    fixed = {"fd", "bitdepth", "jpeg", "onnx"}
    assert {name for name, entry in by_name.items() if not entry["random"]} == fixed


def test_the_list_fits_80_columns_and_is_short(warpguard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    lines = warpguard("defenses").out.splitlines()
    assert max(map(len, lines)) <= 80
    assert len(lines) < 30
    assert not [line for line in lines if "…" in line]


def test_the_details_of_one_and_of_a_whole_defence(warpguard, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    printed = warpguard("defenses", "fd").out
    assert "step=30, corner_step=25" in printed
    assert "arXiv:1803.05787" in printed
    assert "rdg" not in printed.replace("fd+rdg", "")
    assert max(map(len, printed.splitlines())) <= 80
    both = warpguard("defenses", "fd(step=20)+rdg").out
    assert "Feature Distillation" in both
    assert "Random Distortion" in both
    assert "bank=FILE (needed)" in warpguard("defenses", "quilt").out
    (entry,) = json.loads(warpguard("defenses", "jpeg", "--json").out)
    assert entry["name"] == "jpeg"


def panels(path):
    """The pictures that stand beside each other below their captions."""
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB")).astype(int)[24:]
    width = (pixels.shape[1] - 16) // 3
    return [pixels[:, left : left + width] for left in (0, width + 8, 2 * (width + 8))]


def rms(difference):
    return np.sqrt(np.mean(difference**2.0))


def test_a_picture_shows_a_photograph_before_and_after_and_another_draw(
    warpguard, dalmatian, tmp_path
):
    out = tmp_path / "picture.png"
    warpguard("defenses", "fd+rdg", "--picture", out, "--photograph", dalmatian)
    original, defended, another = panels(out)
    assert original.shape[0] == 299
    for one, other in ((original, defended), (original, another), (defended, another)):
        assert rms(one - other) > 5
    with Image.open(dalmatian) as photograph:
        small = np.asarray(photograph.convert("RGB").resize(original.shape[1::-1])).astype(int)
    assert rms(original - small) < 25


def test_without_randomness_the_difference_is_shown(warpguard, tmp_path):
    """And by default the photograph is one of the demonstration."""
    out = tmp_path / "picture.png"
    warpguard("defenses", "fd", "--picture", out)
    original, defended, difference = panels(out)
    changed = np.clip(128 + 8 * (defended - original), 0, 255)
    np.testing.assert_array_equal(difference, changed)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("fdd", 2, "Unknown defence 'fdd'"),
        ("--picture x.png", 2, "--picture needs a DEFENSE"),
        ("fd --photograph x.jpg", 2, "--photograph needs --picture"),
        ("fd --picture x.png --photograph missing.jpg", 1, "missing.jpg"),
        ("fd --picture x.txt", 1, "x.txt cannot be written: unknown file extension"),
        ("fd --picture missing/x.png", 1, "missing/x.png cannot be written"),
        ("quilt --picture x.png", 2, "bank has no default"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, arguments, code, message):
    printed = warpguard("defenses", *arguments.split(), code=code)
    assert message in printed.err
    assert printed.out == ""
