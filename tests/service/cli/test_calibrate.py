"""Calibrate on a folder, and serve with the file."""

import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

COLOURS = ("red", "green", "blue")


@pytest.fixture
def colours(colour_store):
    return ("--store", colour_store, "--model", "colours")


@pytest.fixture
def folder(tmp_path, make_photograph):
    """Thirty different photographs, the tenth of them again, a broken one, and labels for ten."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    generator = np.random.default_rng(1)
    rows = ["file,label"]
    for number in range(30):
        pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        pixels[..., number % 3] |= 128
        Image.fromarray(pixels).save(folder / f"{number:02}.png")
        if number < 10:
            rows.append(f"{number:02}.png,{0 if number == 9 else number % 3}")
    rows[-1] = "09.png,1"  # it is red
    shutil.copy(folder / "09.png", folder / "again.png")
    (folder / "broken.png").write_bytes(make_photograph()[:500])
    (folder / "labels.csv").write_text("\n".join(rows))
    return folder


def test_it_writes_what_a_server_of_that_model_takes(warpguard, folder, colours, tmp_path, spawn):
    out = tmp_path / "calibration.json"
    arguments = ["--data", folder, *colours, "--draws", "4", "--false-alarms", "0.05"]
    printed = warpguard("calibrate", *arguments, "--out", out)
    found = json.loads(out.read_text())
    assert (found["images"], found["draws"], found["false_alarms"]) == (30, 4, 0.05)
    assert (found["model"]["name"], found["defense"]["name"]) == ("colours", "fd+rdg")
    assert 0 <= found["squeeze"]["threshold"] <= 2
    assert found["concentration"] is None  # of three classes
    assert found["agreement"][-1]["wrong"] == pytest.approx(0.1)
    assert "at most 5 % of further images like these on average" in printed.out
    assert "a sure answer is not a safe one" in printed.out
    assert "10.0 %" in printed.out
    assert f"{folder / 'broken.png'}: This PNG file is cut short" in printed.err
    assert "of 32 files 1 cannot be read, and 1 are bit-identical with others" in printed.err
    assert sorted(each.name for each in tmp_path.iterdir()) == ["calibration.json", "photographs"]

    alarm = ["--alarm", "squeeze", "--squeeze-share", "1", "--calibration", str(out)]
    admin = ["--admin-port", "0"]
    server = spawn(*alarm, *admin, ready=False)
    server.wait_until(lambda: "Serving colours" in server.log)
    assert "squeeze is off" not in server.log
    server.signal()
    assert server.exit_code() == 0

    other = spawn(*alarm, *admin, "--defense", "fd", ready=False)
    assert other.exit_code() == 1
    assert "for the defence fd+rdg, and --defense is fd" in other.log

    found["model"] = {"name": "roses", "sha256": "ab" * 32}
    out.write_text(json.dumps(found))
    other = spawn(*alarm, *admin, ready=False)
    assert other.exit_code() == 1
    assert "for the model roses (SHA-256 abababababab), and the server's is colours" in other.log
    assert "Traceback" not in other.log


def test_without_labels_only_the_unsure_answers_are_shown(warpguard, folder, colours, tmp_path):
    (folder / "labels.csv").unlink()
    arguments = ["--data", folder, *colours, "--draws", "1", "--false-alarms", "0.05"]
    out = warpguard("calibrate", *arguments, "--out", tmp_path / "x.json").out
    assert "unsure answers" in out
    assert "wrong" not in out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("", 1, "32 images are too few: a share of 0.01 needs 99. Add images"),
        ("--false-alarms 0.0313", 1, "30 different images that can be read are too few"),
        ("--false-alarms 0.0313", 1, "give --false-alarms 0.0323 or more. Nothing was written"),
        ("--false-alarms 1", 2, "--false-alarms: '1' is not a number above 0 and below 1"),
        ("--draws 17", 2, "--draws must be between 1 and 16"),
        ("--defense none", 2, "--defense none leaves nothing to calibrate"),
        ("--defense fd+webp", 2, "Defences: fd, rdg, rand"),
        ("--out missing/x.json", 1, "x.json cannot be written: the folder missing does not exist"),
        ("--out .", 1, ". cannot be written: it is a folder"),
        ("--data missing", 1, "missing is not a folder"),
        ("--model nonsense", 1, "efficientnet-lite2"),
    ],
)
def test_what_is_wrong_is_reported_and_nothing_is_written(
    warpguard, folder, colours, tmp_path, monkeypatch, arguments, code, message
):
    monkeypatch.chdir(tmp_path)
    given = ["--false-alarms", "0.05"] if "--model" in arguments else []
    command = ["calibrate", "--data", folder, *colours, "--draws", "1", *given, *arguments.split()]
    printed = warpguard(*command, code=code)
    assert message in printed.err
    assert printed.out == ""
    assert [each.name for each in tmp_path.iterdir()] == ["photographs"]


def test_a_table_that_is_not_valid_ends_it_before_the_work(warpguard, folder, colours):
    (folder / "labels.csv").write_text("file,label\n00.png,3\n")
    arguments = ["--data", folder, *colours, "--false-alarms", "0.05"]
    assert "is not a class; classes are 0 to 2" in warpguard("calibrate", *arguments, code=1).err


def test_the_demonstration_s_photographs_in_a_process_of_its_own(dalmatian, tmp_path):
    """With the embedded model: 20 are too few for 1 %, and enough for 5 %."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows = ["file,label"]
    for file in sorted(dalmatian.parent.glob("imagenet_*.jpg")):
        shutil.copy(file, folder)
        rows.append(f"{file.name},{file.stem.rpartition('_')[2]}")
    (folder / "labels.csv").write_text("\n".join(rows))
    command = [sys.executable, "-W", "error", "-m", "service", "calibrate", "--data", folder]
    command += ["--draws", "2", "--out", tmp_path / "calibration.json"]
    few = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (few.returncode, few.stdout) == (1, "")
    assert "20 images are too few: a share of 0.01 needs 99." in few.stderr
    assert "give --false-alarms 0.0477 or more" in few.stderr
    done = subprocess.run(
        [*command, "--false-alarms", "0.05"], capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    found = json.loads((tmp_path / "calibration.json").read_text())
    assert found["images"] == 20
    assert found["model"]["name"] == "efficientnet-lite2"
    assert found["concentration"]["least_cosine"] >= 0.72
    assert found["agreement"][0]["wrong"] <= 0.25
