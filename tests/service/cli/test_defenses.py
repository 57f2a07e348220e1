import json


def test_a_table(warpguard, monkeypatch):
    assert "Random Distortion over Grids" in " ".join(warpguard("defenses").out.split())
    monkeypatch.setenv("COLUMNS", "300")
    assert "bank=FILE, nearest=10" in warpguard("defenses").out


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
