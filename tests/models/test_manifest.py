import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from models import Manifest, ManifestError, Scaling

SCALING = {"mean": [127, 127, 127], "std": [128, 128, 128]}


def parse(**fields):
    return Manifest.parse(json.dumps({"name": "mine", "scaling": SCALING, **fields}), "mine.json")


def test_defaults_are_those_of_an_imagenet_classifier():
    manifest = parse()
    assert (manifest.input.layout, manifest.input.height_px, manifest.input.width_px) == (
        "NCHW",
        299,
        299,
    )
    assert (manifest.output.name, manifest.output.kind) == ("logits", "logits")
    assert len(manifest.label_names) == 1000
    assert manifest.label_names[0] == "tench"
    assert manifest.label_names[-1].startswith("toilet")


def test_json_round_trip():
    manifest = parse(labels=["cat", "dog"], reported_top1=0.5, resize={"mode": "squash"})
    assert Manifest.parse(manifest.model_dump_json(), "the test") == manifest
    assert manifest.label_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"name": "../up"}, "name"),
        ({"name": "a" * 65}, "name"),
        ({"input": {"layout": "CHWN"}}, "input.layout"),
        ({"input": {"height_px": 0}}, "input.height_px"),
        ({"output": {"kind": "odds"}}, "output.kind"),
        ({"resize": {"crop_fraction": 1.5}}, "resize.crop_fraction"),
        ({"scaling": {"mean": [1, 2], "std": [1, 1, 1]}}, "scaling.mean"),
        ({"scaling": {"mean": [0, 0, 0], "std": [1, 0, 1]}}, "std must be positive"),
        ({"labels": "imagenet"}, "labels"),
        ({"reported_top1": 77.6}, "reported_top1"),
        ({"sha256": "ABC"}, "sha256"),
        ({"colour": "BGR"}, "colour"),
    ],
)
def test_an_error_names_the_field_and_the_file(fields, place):
    with pytest.raises(ManifestError, match=r"mine\.json") as caught:
        parse(**fields)
    assert place in str(caught.value)


@given(st.text(max_size=70))
def test_every_valid_name_is_a_plain_file_name(name):
    try:
        manifest = Manifest(name=name, scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)))
    except ValidationError:
        return
    assert manifest.name == name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789._-")
    assert 1 <= len(name) <= 64
    assert name[0] not in "._-"


@pytest.mark.parametrize(
    ("height", "width", "resize", "side_px"),
    [
        (299, 299, {"crop_fraction": 0.875}, 342),
        (299, 299, {"crop_fraction": 1.0}, 299),
        (299, 299, {"mode": "squash", "crop_fraction": 0.875}, 299),
        (100, 299, {"crop_fraction": 0.5}, 598),
        (299, 100, {"crop_fraction": 0.5}, 598),
    ],
)
def test_the_side_to_decode_to_is_what_fit_needs(height, width, resize, side_px):
    manifest = parse(input={"height_px": height, "width_px": width}, resize=resize)
    assert manifest.decode_to_px == side_px


def test_not_json():
    with pytest.raises(ManifestError, match="document"):
        Manifest.parse(b"\xff{", "x")


def test_read(tmp_path):
    path = tmp_path / "m.json"
    with pytest.raises(ManifestError, match=r"m\.json cannot be read"):
        Manifest.read(path)
    path.write_text(parse().model_dump_json())
    assert Manifest.read(path) == parse()
