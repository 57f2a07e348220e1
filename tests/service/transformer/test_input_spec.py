"""What metadata and manifests say of an input."""

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
def test_metadata(shape, layout, size):
    frame = of("FP32", *shape)
    assert frame.manifest.input.layout == layout
    assert frame.fixed == (size is not None)
    if size:
        assert (frame.manifest.input.height_px, frame.manifest.input.width_px) == size


@pytest.mark.parametrize(
    ("metadata", "said"),
    [
        ({}, "has not one input"),
        ({"inputs": []}, "has not one input"),
        ({"inputs": None}, "has not one input"),
        ({"inputs": [{}, {}]}, "has not one input"),
        ({"inputs": [{"name": "x", "datatype": "FP32"}]}, "has not one input"),
        ({"inputs": [{"name": "x", "datatype": "FP32", "shape": ["a"]}]}, "has not one input"),
    ],
)
def test_metadata_of_no_single_input(metadata, said):
    with pytest.raises(ManifestError, match=said):
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
def test_metadata_of_no_images(datatype, shape):
    with pytest.raises(ManifestError, match="takes"):
        of(datatype, *shape)


@pytest.mark.parametrize(
    ("resize", "enough"), [(Resize(crop_fraction=0.5), 80), (Resize(mode="squash"), 40)]
)
def test_a_side_that_is_enough(resize, enough):
    scaling = Scaling(mean=(0, 0, 0), std=(1, 1, 1))
    size = GraphInput(height_px=32, width_px=40)
    frame = InputSpec.of_manifest(Manifest(name="x", scaling=scaling, input=size, resize=resize))
    assert frame.decode_to_px == enough
    assert InputSpec().decode_to_px is None
