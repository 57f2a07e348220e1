"""The commands as a shell sees them: exit codes, standard output, standard error."""

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

PHOTOGRAPHS = Path(find_spec("foolbox").origin).parent / "data"
DALMATIAN = PHOTOGRAPHS / "imagenet_16_251.jpg"
GOOSE = PHOTOGRAPHS / "imagenet_15_99.jpg"


def warpguard(*arguments, code=0, **environment):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", "service", *map(str, arguments)],
        env=os.environ | {"COLUMNS": "200"} | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def test_version():
    assert warpguard("version").stdout == warpguard("--version").stdout
    assert warpguard("version").stdout.startswith("warpguard 0.")


@pytest.mark.parametrize(
    "command",
    [
        ["serve"],
        ["predict"],
        ["defend"],
        ["defenses"],
        ["quilt-bank"],
        ["version"],
        ["models", "list"],
        ["models", "show"],
        ["models", "pull"],
        ["models", "add"],
        ["models", "remove"],
        ["keys", "new"],
    ],
)
def test_every_command_s_help_has_an_example(command):
    text = warpguard(*command, "--help").stdout
    assert f"example:\n  warpguard {' '.join(command)}" in text


def test_predict_as_json():
    output = warpguard("predict", DALMATIAN, GOOSE, "--draws", 4, "--top-k", 2, "--json").stdout
    first, second = json.loads(output)
    assert first["file"] == str(DALMATIAN)
    assert (first["predictions"][0]["index"], second["predictions"][0]["index"]) == (251, 99)
    assert len(first["predictions"]) == 2
    assert 0 < first["agreement"] <= 1


def test_predict_as_a_table_goes_on_after_a_bad_file(tmp_path):
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(DALMATIAN.read_bytes()[:500])
    done = warpguard("predict", "missing.jpg", broken, DALMATIAN, "--defense", "none", code=1)
    assert "No such file" in done.stdout
    assert "cut short" in done.stdout
    assert "dalmatian" in done.stdout


def test_defend_writes_a_png_of_the_same_size(tmp_path):
    out = tmp_path / "out.png"
    warpguard("defend", DALMATIAN, "-o", out)
    original = np.asarray(Image.open(DALMATIAN).convert("RGB")).astype(int)
    defended = np.asarray(Image.open(BytesIO(out.read_bytes()))).astype(int)
    assert defended.shape == original.shape
    assert 5 < np.sqrt(np.mean((defended - original) ** 2)) < 100
    warpguard("defend", DALMATIAN, "-o", out, "--defense", "none")
    np.testing.assert_array_equal(np.asarray(Image.open(out)), original)


def test_defenses():
    assert "Random Distortion over Grids" in " ".join(warpguard("defenses").stdout.split())
    listed = json.loads(warpguard("defenses", "--json").stdout)
    compared = ["bitdepth", "jpeg", "shield", "crop", "deflect", "tvm", "menet", "quilt", "onnx"]
    assert [entry["name"] for entry in listed] == ["fd", "rdg", "rand", *compared]
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["rdg"]["parameters"]["delta"] == 0.15
    assert by_name["rdg"]["required"] == []
    assert by_name["quilt"]["parameters"] == {"bank": None, "nearest": 10, "overlap": 2}
    assert by_name["quilt"]["required"] == ["bank"]
    fixed = {"fd", "bitdepth", "jpeg", "onnx"}
    assert {name for name, entry in by_name.items() if not entry["random"]} == fixed
    assert "bank=FILE, nearest=10" in warpguard("defenses", COLUMNS="300").stdout


def test_models():
    listed = json.loads(warpguard("models", "list", "--json").stdout)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["efficientnet-lite2"]["auto"] is True
    assert by_name["inception-v3"]["state"] == "to be pulled"
    assert "efficientnet-lite2 *" in warpguard("models", "list").stdout
    assert json.loads(warpguard("models", "show", "auto").stdout)["name"] == "efficientnet-lite2"


def test_models_pull_builds_an_embedded_model(tmp_path):
    done = warpguard("models", "pull", "efficientnet-lite0", "--store", tmp_path)
    assert "efficientnet-lite0 is in the store" in done.stdout
    listed = json.loads(warpguard("models", "list", "--json", "--store", tmp_path).stdout)
    assert {entry["name"]: entry["state"] for entry in listed}[
        "efficientnet-lite0"
    ] == "in the store"


def test_a_model_of_one_s_own(tmp_path):
    """A graph that is already in a store, added under another name."""
    store = tmp_path / "store"
    warpguard("models", "pull", "efficientnet-lite0", "--store", store)
    manifest = json.loads(
        warpguard("models", "show", "efficientnet-lite0", "--store", store).stdout
    )
    (graph,) = (store / "graphs").glob("*.onnx")
    (tmp_path / "mine.json").write_text(json.dumps({**manifest, "name": "mine"}))
    add = ("models", "add", "mine", "--onnx", graph, "--manifest", tmp_path / "mine.json")
    warpguard(*add, "--store", store)
    predict = ("predict", DALMATIAN, "--defense", "none", "--json")
    output = warpguard(*predict, "--model", "mine", "--store", store).stdout
    assert json.loads(output)[0]["predictions"][0]["index"] == 251
    warpguard("models", "remove", "mine", "--store", store)
    assert "no model 'mine'" in warpguard("models", "show", "mine", "--store", store, code=1).stderr

    wrong = {**manifest, "name": "mine", "labels": ["cat", "dog"]}
    (tmp_path / "mine.json").write_text(json.dumps(wrong))
    assert "1000" in warpguard(*add, "--store", store, code=1).stderr


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["predict", DALMATIAN, "--model", "nonsense"], 1, "efficientnet-lite2"),
        (["predict", DALMATIAN, "--model", "inception-v3"], 1, "models pull inception-v3"),
        (["predict", DALMATIAN, "--defense", "fd+webp"], 2, "only fd, rdg, rand"),
        (["predict", DALMATIAN, "--draws", "17"], 2, "1…16"),
        (["predict"], 2, "FILE"),
        (["defend", "missing.jpg", "-o", "x.png"], 1, "missing.jpg"),
        (["defend", DALMATIAN, "-o", "x.png", "--defense", "fd("], 2, "not a defence"),
        (["models", "show", "nonsense"], 1, "inception-v3"),
        (["models", "add", "auto", "--onnx", "x", "--manifest", "missing.json"], 1, "missing.json"),
        (["serve", "--model", "nonsense"], 1, "efficientnet-lite2"),
        (["serve", "--port", "x"], 2, "--port"),
        (["serve", "--max-batch", "0"], 2, "--max-batch"),
        (["serve", "--defense", "fd+"], 2, "not a defence"),
        (["serve", "--allow-defense", "none,webp"], 2, "only fd, rdg, rand"),
        (["serve", "--device", "tpu"], 2, "cuda"),
        (["serve", "--defense", "onnx(file=missing.onnx)"], 2, "missing.onnx cannot be read"),
        (["serve", "--allow-defense", "quilt"], 2, "bank has no default"),
        (["quilt-bank", "missing.jpg", "-o", "bank.npz"], 1, "missing.jpg: No such file"),
        (["quilt-bank", DALMATIAN, "-o", "missing/bank.npz"], 1, "no folder missing"),
        (["quilt-bank", DALMATIAN, "-o", "bank.npz", "--patches", "99"], 2, "--patches is 100"),
        (["quilt-bank", DALMATIAN, "-o", "bank.npz", "--patch", "17"], 2, "--patch is 3"),
        (["quilt-bank", __file__, "-o", "bank.npz"], 1, "test_cli.py: This is no image file"),
        (["serve", "--max_batch=0"], 2, "--max-batch"),
        (["serve", "--http_port", "x"], 2, "--port"),
        (["serve", "--http-port=-1"], 2, "--port"),
        (["serve", "--predictor_host", "localhost"], 2, "--model-name"),
        (["serve", "--predictor_host=http://x", "--model_name=m"], 2, "HOST:PORT"),
        (["serve", "--predictor_host=x", "--predictor_protocol=grpc"], 2, "v1"),
        (["serve", "--predictor_use_ssl=true"], 2, "--predictor-use-ssl"),
        (
            ["serve", "--predictor_host=x", "--model_name=m", "--predictor_manifest=missing.json"],
            1,
            "missing.json",
        ),
        (["juggle"], 2, "juggle"),
    ],
)
def test_what_is_wrong_is_said_in_a_line(arguments, code, said):
    done = warpguard(*arguments, code=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""


def test_the_environment_names_settings_too():
    done = warpguard("serve", code=2, WARPGUARD_MAX_BATCH="0")
    assert "--max-batch" in done.stderr
    done = warpguard("serve", "--model", "nonsense", code=1, WARPGUARD_MODEL="inception-v3")
    assert "'nonsense'" in done.stderr
