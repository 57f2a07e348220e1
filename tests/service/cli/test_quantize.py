import json

import pytest


@pytest.fixture
def photographs(tmp_path, make_photograph):
    """A folder of forty files, half of them red and half of them blue, with a table."""
    folder = tmp_path / "photographs"
    folder.mkdir()
    rows = ["file,label"]
    for number in range(40):
        colour, label = (("red", 0), ("blue", 2))[number // 2 % 2]
        (folder / f"{number:02}.png").write_bytes(make_photograph(colour))
        rows.append(f"{number:02}.png,{label}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_a_model_without_weights_is_refused_by_name(warpguard, colour_store, photographs):
    """The model of these tests only averages colours."""
    data = ("--data", photographs, "--store", colour_store, "--quiet")
    printed = warpguard("models", "quantize", "colours", *data, code=1)
    assert "'colours'" in printed.err
    assert "INT8" in printed.err
    assert printed.out == ""
    shown = json.loads(warpguard("models", "show", "colours", "--store", colour_store).out)
    assert shown["int8"] is None


def test_too_few_images_are_refused(warpguard, colour_store, photographs):
    data = ("--data", photographs, "--limit", 10, "--store", colour_store)
    printed = warpguard("models", "quantize", "colours", *data, code=1)
    assert "has 10 images. Give 20 or more" in printed.err


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("file,class\n", "file and label"),
        ("file,label\n00.png,x\n", "line 2: 'x' is not a class; classes are 0 to 2"),
    ],
)
def test_a_wrong_table_is_refused(warpguard, colour_store, photographs, table, message):
    (photographs / "labels.csv").write_text(table + "a.png,1\n")
    data = ("--data", photographs, "--store", colour_store)
    assert message in warpguard("models", "quantize", "colours", *data, code=1).err


def test_an_embedded_model_can_be_served_in_int8(warpguard, tmp_path, make_photograph):
    (tmp_path / "photo.png").write_bytes(make_photograph())
    store = ("--store", tmp_path / "store")
    warpguard("models", "pull", "efficientnet-lite0", *store)
    printed = warpguard("models", "show", "efficientnet-lite0", *store)
    assert json.loads(printed.out)["int8"]["speed"] == {}
    assert "--precision auto" in printed.err
