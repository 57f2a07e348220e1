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


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"label": ["a"]}, "label: unknown field. Did you mean 'labels'? Allowed: name, input, "),
        ({"license": "MIT"}, "license: unknown field. Did you mean 'licence'? "),
        ({"Scaling": {}}, "Scaling: unknown field. Did you mean 'scaling'? "),
        ({"mean": [0, 0, 0]}, "mean: unknown field. "),
        (
            {"input": {"hight_px": 9}},
            "input.hight_px: unknown field. Did you mean 'height_px'? "
            "Allowed: name, layout, height_px, width_px",
        ),
        ({"input": {"height": 9}}, "input.height: unknown field. Did you mean 'height_px'? "),
        ({"resize": {"crop": 1}}, "resize.crop: unknown field. "),
        ({"scaling": {**SCALING, "Std": 1}}, "scaling.Std: unknown field. Did you mean 'std'? "),
        ({"zzz": 1}, "zzz: unknown field. Allowed: name, input, output, resize, scaling, labels, "),
    ],
)
def test_an_unknown_field_is_refused_and_the_nearest_named(fields, said):
    with pytest.raises(ManifestError) as caught:
        parse(**fields)
    assert said in str(caught.value)


MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]


@pytest.mark.parametrize(
    ("mean", "std", "right_mean", "right_std"),
    [
        ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225], MEAN, STD),
        (MEAN, [0.229, 0.224, 0.225], MEAN, STD),
        ([0.485, 0.456, 0.406], STD, MEAN, STD),
        ([0.5] * 3, [0.5] * 3, [127.5] * 3, [127.5] * 3),
        ([0.5] * 3, [1] * 3, [127.5] * 3, [255.0] * 3),
        ([0.5] * 3, [255] * 3, [127.5] * 3, [255.0] * 3),
        ([0] * 3, [0.5] * 3, [0.0] * 3, [127.5] * 3),
        ([0.4914, 0, 0.4465], [0.2, 1.0, 0.2], [125.307, 0.0, 113.858], [51.0, 255.0, 51.0]),
        ([0] * 3, [1 / 256] * 3, [0.0] * 3, [256.0] * 3),  # a factor, where a divisor should be
        (MEAN, [0.015625] * 3, MEAN, [64.0] * 3),
        ([0.5] * 3, [0.0078125] * 3, [127.5] * 3, [128.0] * 3),
    ],
)
def test_a_scaling_for_other_pixels_is_refused_with_the_right_one(mean, std, right_mean, right_std):
    with pytest.raises(ManifestError) as caught:
        parse(scaling={"mean": mean, "std": std})
    assert f"Write mean {right_mean} and std {right_std}." in str(caught.value)
    assert parse(scaling={"mean": right_mean, "std": right_std})


@pytest.mark.parametrize(
    ("mean", "std"),
    [
        ([0, 0, 0], [1, 1, 1]),
        ([0, 0, 0], [255, 255, 255]),
        ([0, 0, 0], [127.5, 127.5, 127.5]),
        ([127.5, 127.5, 127.5], [127.5, 127.5, 127.5]),
        ([128, 128, 128], [128, 128, 128]),
        ([127.5, 127.5, 127.5], [255, 255, 255]),
        ([103.939, 116.779, 123.68], [1, 1, 1]),  # Caffe's
        ([123.68, 116.78, 103.94], [58.82, 58.82, 58.82]),
        (MEAN, STD),
        (MEAN, [255, 255, 255]),
        ([0.7, 0.4, 0.1], [3.2, 2.1, 1.1]),  # nearly black images, as fluorescence makes them
        ([0.4, 12, 0], [2, 15, 1]),
        ([-1, -1, -1], [255, 255, 255]),
    ],
)
def test_a_scaling_that_may_be_right_is_accepted(mean, std):
    assert parse(scaling={"mean": mean, "std": std}).scaling.std == tuple(std)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
@pytest.mark.parametrize("field", ["mean", "std"])
def test_a_scaling_is_finite(number, field):
    text = '{"name": "m", "scaling": {"mean": [0, 0, 0], "std": [1, 1, 1]}}'
    start = text.index("[", text.index(field)) + 1
    with pytest.raises(ManifestError, match=rf"scaling\.{field}\.0"):
        Manifest.parse(text[:start] + number + text[start + 1 :], "m.json")


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
