"""How an image is posted to a server of the Open Inference Protocol."""

import io
import json
from base64 import b64decode

import numpy as np
import pytest
from PIL import Image

from harness.endpoint.form import form_of
from harness.endpoint.metadata import ModelMetadata, ServerMetadata
from harness.errors import EndpointError
from models import GraphInput, Manifest, Scaling

IMAGE = np.random.default_rng(0).integers(0, 256, (8, 12, 3), np.uint8)
MANIFEST = Manifest(
    name="mine",
    input=GraphInput(name="x", height_px=8, width_px=12),
    scaling=Scaling(mean=(10, 20, 30), std=(50, 60, 70)),
    labels=("a", "b"),
)
SCALED = (IMAGE - np.array([10, 20, 30])) / np.array([50, 60, 70])
BINARY = ServerMetadata(extensions=["binary_tensor_data"])
JSON = ServerMetadata(name="mlserver", extensions=[])
WARPGUARD = ServerMetadata(name="warpguard", extensions=["binary_tensor_data"])


def form(datatype, shape, manifest=None, server=BINARY):
    tensor = {"name": "in", "datatype": datatype, "shape": shape}
    return form_of(ModelMetadata.model_validate({"inputs": [tensor]}), server, manifest, "URL")


def posted(form, image=IMAGE, output=None):
    """The tensor that a server reads: its description and its values."""
    body, headers = form.body(image, output)
    length = int(headers.get("Inference-Header-Content-Length", len(body)))
    head, raw = json.loads(body[:length]), body[length:]
    (tensor,) = head["inputs"]
    dtype = {"UINT8": np.uint8, "FP32": np.float32}.get(tensor["datatype"])
    if tensor["datatype"] == "BYTES":
        file = b64decode(tensor["data"][0]) if not raw else raw[4:]
        assert not raw or int.from_bytes(raw[:4], "little") == len(file)
        return tensor, np.asarray(Image.open(io.BytesIO(file)))
    values = np.array(tensor["data"], dtype) if not raw else np.frombuffer(raw, dtype)
    assert not raw or tensor["parameters"] == {"binary_data_size": len(raw)}
    return tensor, values.reshape(tensor["shape"])


@pytest.mark.parametrize("server", [BINARY, JSON])
@pytest.mark.parametrize("before", [[-1], [1], []])
@pytest.mark.parametrize("last", [True, False])
def test_pixels_are_posted_as_the_metadata_say(server, before, last):
    size = [8, 12, 3] if last else [3, 8, 12]
    found = form("UINT8", [*before, *size], server=server)
    tensor, values = posted(found)
    wanted = IMAGE if last else IMAGE.transpose(2, 0, 1)
    assert (tensor["name"], tensor["datatype"]) == ("in", "UINT8")
    assert tensor["shape"] == [*(1 for _ in before), *wanted.shape]
    np.testing.assert_array_equal(values.reshape(wanted.shape), wanted)
    assert (found.manifest.input.height_px, found.manifest.input.width_px) == (8, 12)


@pytest.mark.parametrize("server", [BINARY, JSON])
@pytest.mark.parametrize(
    "shape", [[-1, 3, 8, 12], [-1, 8, 12, 3], [-1, -1, -1, -1], [1, 3, -1, -1]]
)
@pytest.mark.parametrize("image", [IMAGE, IMAGE.astype(np.float32) / 255])
def test_float32_is_scaled_as_the_manifest_says(server, shape, image):
    tensor, values = posted(form("FP32", shape, MANIFEST, server), image)
    wanted = SCALED if shape[-1] == 3 else SCALED.transpose(2, 0, 1)
    assert tensor["datatype"] == "FP32"
    np.testing.assert_allclose(values[0], wanted, atol=1e-5)


@pytest.mark.parametrize("server", [BINARY, JSON])
@pytest.mark.parametrize(("shape", "sent"), [([-1], [1]), ([-1, 1], [1, 1])])
def test_files_are_posted_without_loss(server, shape, sent):
    tensor, values = posted(form("BYTES", shape, MANIFEST, server))
    assert tensor["shape"] == sent
    np.testing.assert_array_equal(values, IMAGE)


def test_a_server_without_an_input_gets_what_the_manifest_says():
    found = form_of(ModelMetadata(), JSON, MANIFEST, "URL")
    tensor, values = posted(found)
    assert (tensor["name"], tensor["datatype"]) == ("x", "FP32")
    np.testing.assert_allclose(values[0], SCALED.transpose(2, 0, 1), atol=1e-5)


@pytest.mark.parametrize(
    ("datatype", "shape"), [("FP32", [-1, 3, 8, 12]), ("BYTES", [-1]), ("UINT8", [-1, -1, -1, 3])]
)
def test_warpguard_gets_pixels_whatever_is_behind_it(datatype, shape):
    found = form(datatype, shape, MANIFEST, WARPGUARD)
    for image, name in ((IMAGE, "UINT8"), (IMAGE.astype(np.float32) / 255, "FP32")):
        tensor, values = posted(found, image)
        assert tensor["datatype"] == name
        whole = values[0] if values.shape[-1] == 3 else values[0].transpose(1, 2, 0)
        np.testing.assert_array_equal(whole, image)


def test_the_wanted_output_is_named():
    for server, parameters in ((BINARY, {"binary_data_output": True}), (JSON, None)):
        body, headers = form("UINT8", [-1, 8, 12, 3], server=server).body(IMAGE, "scores")
        length = headers.get("Inference-Header-Content-Length")
        head = json.loads(body[: length and int(length)])
        assert head["outputs"] == [{"name": "scores"}]
        assert head.get("parameters") == parameters


@pytest.mark.parametrize(("datatype", "shape"), [("UINT8", [-1, 8, 12, 3]), ("BYTES", [-1])])
def test_images_without_rounding_need_float32(datatype, shape):
    with pytest.raises(EndpointError, match=r"takes \w+, which has 8 bits a value.*--unquantized"):
        posted(form(datatype, shape, MANIFEST), IMAGE.astype(np.float32) / 255)


@pytest.mark.parametrize(
    ("datatype", "shape", "manifest", "message"),
    [
        ("FP32", [-1, 3, 8, 12], None, "do not have the mean and the std.*--manifest"),
        ("BYTES", [-1], None, "the size that the model sees.*--manifest"),
        ("UINT8", [-1, -1, -1, 3], None, "images of any size.*--manifest"),
        ("UINT8", [-1, 9, 12, 3], MANIFEST, r"9 x 12 px .*says 8 x 12\. Correct the manifest"),
        ("UINT8", [-1, 2, 2, 3], None, "2 x 2 px .*; 8 to 4096 are allowed"),
        ("UINT8", [-1, 99999, 12, 3], None, "8 to 4096 are allowed"),
        ("UINT8", [8, 8, 12, 3], None, "one at a time"),
        ("UINT8", [-1, 8, 12, 1], None, "of shape"),
        ("UINT8", [-1, 36], None, "of shape"),
        ("UINT8", [], None, "of shape"),
        ("INT8", [-1, 8, 12, 3], None, "of shape"),
        ("BYTES", [-1, 7], MANIFEST, "of shape"),
    ],
)
def test_other_inputs_are_refused(datatype, shape, manifest, message):
    with pytest.raises(EndpointError, match=f"^URL takes .*{message}"):
        form(datatype, shape, manifest)


def test_several_or_unknown_inputs_are_refused():
    two = [{"name": name, "datatype": "UINT8", "shape": [-1, 8, 8, 3]} for name in ("a", "b")]
    with pytest.raises(EndpointError, match=r"several inputs \(a, b\)"):
        form_of(ModelMetadata.model_validate({"inputs": two}), JSON, None, "URL")
    with pytest.raises(EndpointError, match=r"does not report its input\. .*--manifest"):
        form_of(ModelMetadata(), JSON, None, "URL")
