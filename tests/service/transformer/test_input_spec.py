"""The input of an upstream, as its metadata or a manifest describes it."""

import pytest

from models import GraphInput, Manifest, ManifestError, Resize, Scaling
from service.transformer.input_spec import InputSpec


def of(datatype, *shape, binary=True):
    tensor = {"name": "x", "datatype": datatype, "shape": list(shape)}
    return InputSpec.of_metadata({"inputs": [tensor]}, binary=binary)


@pytest.mark.parametrize(
    ("shape", "layout", "size"),
    [
        ((-1, 24, 32, 3), "NHWC", (24, 32)),
        ((1, 3, 24, 32), "NCHW", (24, 32)),
        ((-1, -1, -1, 3), "NHWC", None),
        ((-1, 3, -1, -1), "NCHW", None),
        ((-1, 24, -1, 3), "NHWC", None),
        (("-1", "24", "32", "3"), "NHWC", (24, 32)),  # as some servers write them
    ],
)
def test_metadata_describes_the_layout_and_the_size(shape, layout, size):
    spec = of("FP32", *shape)
    assert spec.manifest.input.layout == layout
    assert spec.fixed == (size is not None)
    if size:
        assert (spec.manifest.input.height_px, spec.manifest.input.width_px) == size


@pytest.mark.parametrize(
    "metadata",
    [
        {},
        {"inputs": []},
        {"inputs": None},
        {"inputs": [{}, {}]},
        {"inputs": [{"name": "x", "datatype": "FP32"}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, float("inf"), 32, 3]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, float("nan"), 32, 3]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 32.5, 32, 3]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 10**30, 32, 3]}]},
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": 100_000 * [1]}]},
        {"inputs": [{"name": "x" * 1000, "datatype": "FP32", "shape": [-1, 32, 32, 3]}]},
        {"inputs": [{"name": "x", "datatype": "F" * 1000, "shape": [-1, 32, 32, 3]}]},
    ],
)
def test_metadata_without_exactly_one_input_is_refused(metadata):
    with pytest.raises(ManifestError, match="has not one input"):
        InputSpec.of_metadata(metadata, binary=True)


@pytest.mark.parametrize(
    ("datatype", "shape"),
    [
        ("FP16", (-1, 32, 32, 3)),
        ("FP32", (-1, 32, 32, 4)),
        ("FP32", (32, 32, 3)),
        ("FP32", (-1,)),
        ("FP32", (-1, 4, 4, 3)),
        ("BYTES", (-1, 2)),
        ("BYTES", ()),
    ],
)
def test_metadata_of_an_input_that_is_not_for_images_is_refused(datatype, shape):
    with pytest.raises(ManifestError, match="takes"):
        of(datatype, *shape)


@pytest.mark.parametrize(
    ("resize", "side_px"), [(Resize(crop_fraction=0.5), 80), (Resize(mode="squash"), 40)]
)
def test_a_large_image_is_reduced_no_further_than_the_input_needs(resize, side_px):
    scaling = Scaling(mean=(0, 0, 0), std=(1, 1, 1))
    size = GraphInput(height_px=32, width_px=40)
    spec = InputSpec.of_manifest(Manifest(name="x", scaling=scaling, input=size, resize=resize))
    assert spec.decode_to_px == side_px
    assert InputSpec().decode_to_px is None
