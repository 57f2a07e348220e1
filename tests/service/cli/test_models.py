import json

import pytest


def test_list_and_show(warpguard):
    listed = json.loads(warpguard("models", "list", "--json").out)
    by_name = {entry["name"]: entry for entry in listed}
    assert by_name["efficientnet-lite2"]["auto"] is True
    assert by_name["inception-v3"] == {
        "name": "inception-v3",
        "state": "to be pulled",
        "auto": False,
        "precision": "fp32",
        "precision_reason": "the store has no graph in INT8",
        "side_px": 299,
        "classes": 1000,
        "reported_top1": pytest.approx(0.775, abs=0.01),
        "licence": "Apache-2.0",
        "source": by_name["inception-v3"]["source"],
    }
    table = warpguard("models", "list").out
    assert "efficientnet-lite2 *" in table
    assert "'auto' takes the model that is marked *" in table
    shown = warpguard("models", "show", "auto").out
    assert json.loads(shown)["name"] == "efficientnet-lite2"
    assert warpguard("models", "show", "auto", "--json").out == shown


def test_pull_builds_an_embedded_model(warpguard, tmp_path):
    printed = warpguard("models", "pull", "efficientnet-lite0", "--store", tmp_path)
    assert printed == (f"efficientnet-lite0 is in the store {tmp_path}\n", "")
    listed = json.loads(warpguard("models", "list", "--json", "--store", tmp_path).out)
    states = {entry["name"]: entry["state"] for entry in listed}
    assert states["efficientnet-lite0"] == "in the store"


def test_add_and_remove(warpguard, colour_store, make_photograph, tmp_path):
    """A graph that is already in a store, added under another name."""
    store = ("--store", tmp_path / "store")
    manifest = json.loads(warpguard("models", "show", "colours", "--store", colour_store).out)
    (graph,) = (colour_store / "graphs").glob("*.onnx")
    (tmp_path / "mine.json").write_text(json.dumps(manifest))
    add = ("models", "add", "mine", "--onnx", graph, "--manifest", tmp_path / "mine.json", *store)
    assert warpguard(*add).out == f"mine is in the store {tmp_path / 'store'}\n"
    (tmp_path / "blue.png").write_bytes(make_photograph("blue"))
    predict = ("predict", tmp_path / "blue.png", "--model", "mine", "--json", *store)
    assert json.loads(warpguard(*predict).out)[0]["predictions"][0]["label"] == "blue"
    assert warpguard("models", "remove", "mine", *store).out == "mine is no longer in the store\n"
    assert "no model 'mine'" in warpguard("models", "show", "mine", *store, code=1).err

    (tmp_path / "mine.json").write_text(json.dumps({**manifest, "labels": ["cat", "dog"]}))
    assert "3" in warpguard(*add, code=1).err


def test_pull_takes_weights_from_a_file(warpguard, tmp_path):
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    weights = ("--weights", tmp_path / "weights.pth", "--store", tmp_path / "store")
    assert "weights.pth" in warpguard("models", "pull", "inception-v3", *weights, code=1).err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ("show nonsense", 1, "inception-v3"),
        ("add auto --onnx x --manifest missing.json", 1, "missing.json"),
        ("add x --onnx x --manifest x --timeout-seconds 0", 2, "more than 0 and at most 86400"),
        ("add x --onnx x --manifest x --timeout-seconds nan", 2, "more than 0 and at most 86400"),
        ("add x --onnx x --manifest x --timeout-seconds 1m", 2, "invalid seconds value: '1m'"),
        ("remove mine", 1, "no model 'mine'"),
        ("list --store /dev/null", 1, "/dev/null"),
    ],
)
def test_what_is_wrong_is_reported(warpguard, arguments, code, message):
    printed = warpguard("models", *arguments.split(), code=code)
    assert message in printed.err
    assert printed.out == ""
