"""Requests to a classifier over TensorFlow's protocol, and its answers."""

import json
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from defenses import Pipeline
from models import GraphInput, Manifest, Scaling

PREDICT = "/v1/models/m:predict"


def noise(*shape):
    return np.random.default_rng(7).integers(0, 256, shape, np.uint8)


def b64(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return {"b64": b64encode(buffer.getvalue()).decode()}


@pytest.fixture
def ask(front, stub):
    def begin(instances, more=None, **options):
        client = front(predictor_protocol="v1", **options)
        return client.post(PREDICT, json={"instances": instances, **(more or {})})

    return begin


def test_integers_are_passed_on_as_integers(ask, stub):
    pixels = noise(2, 20, 24, 3)
    stub.do = lambda handler, _: handler.answer(200, {"predictions": [1, 2]})
    answer = ask(pixels.tolist(), {"signature_name": "serving_default"})
    assert answer.json() == {"predictions": [1, 2]}
    (request,) = stub.received
    assert (request.path, request.headers["content-type"]) == (PREDICT, "application/json")
    expected = {"signature_name": "serving_default", "instances": pixels.tolist()}
    assert json.dumps(request.document) == json.dumps(expected)


def test_numbers_in_0_to_1_are_passed_on_as_such(ask, stub):
    pixels = noise(20, 24, 3) / np.float32(255)
    assert ask([pixels.tolist()]).status_code == 200
    np.testing.assert_array_equal(np.float32(stub.received[0].document["instances"]), [pixels])


@pytest.mark.parametrize("wrapped", [False, True])
def test_files_are_passed_on_as_numbers_in_0_to_1(ask, stub, wrapped):
    pixels = noise(20, 24, 3)
    instance = {"image_bytes": b64(pixels)} if wrapped else b64(pixels)
    assert ask([instance], defense="fd").status_code == 200
    got = np.array(stub.received[0].document["instances"])
    expected = Pipeline.parse("fd")(pixels, None) / 255
    np.testing.assert_allclose(got, [expected], atol=1e-6)


def test_a_manifest_describes_the_input(ask, stub, tmp_path):
    path = tmp_path / "manifest.json"
    scaling = Scaling(mean=(10, 20, 30), std=(2, 4, 8))
    size = GraphInput(layout="NCHW", height_px=32, width_px=32)
    path.write_text(Manifest(name="any", scaling=scaling, input=size).model_dump_json())
    pixels = noise(2, 32, 32, 3)
    instances = [pixels[0].tolist(), b64(pixels[1])]
    assert ask(instances, predictor_manifest=path).status_code == 200
    got = np.array(stub.received[0].document["instances"])
    expected = (pixels - np.array(scaling.mean)) / np.array(scaling.std)
    np.testing.assert_allclose(got, expected.transpose(0, 3, 1, 2), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("status", [400, 503])
def test_the_answer_is_the_upstream_s_own(ask, stub, status):
    stub.do = lambda handler, _: handler.answer(status, b'{"error":  "so it is"}')
    answer = ask(noise(1, 20, 24, 3).tolist())
    assert (answer.status_code, answer.content) == (status, b'{"error":  "so it is"}')


def test_the_readiness_is_the_upstream_s(front, stub):
    client = front(predictor_protocol="v1")
    assert client.get("/v1/models/m").json() == {"name": "m", "ready": True}
    stub.ready = 503
    assert client.get("/readyz").status_code == 503
    answer = client.get("/v1/models/m")
    assert answer.status_code == 503
    assert answer.json() == {"error": "The classifier behind this server is not ready."}


GOOD = np.zeros((8, 8, 3), int).tolist()


@pytest.mark.parametrize(
    ("instances", "status", "message"),
    [
        ([], 422, "instances"),
        ("x", 422, "instances"),
        ([5], 422, "not an image"),
        ([{"x": 5}], 422, "not an image"),
        ([{"b64": 5}], 422, "not an image"),
        ([{"image_bytes": "x"}], 422, "not an image"),
        ([{"b64": "?"}], 400, "not valid base64"),
        ([{"b64": "é"}], 400, "not valid base64"),
        ([{"b64": "aGFsbG8="}], 415, "Not a supported image file"),
        ([GOOD, {"b64": "aGFsbG8="}], 415, "Image 2 of 2: "),
        ([GOOD, GOOD[:7]], 422, "Image 2 of 2: The images have 8 x 7"),
        ([[]], 422, "not an image"),
        ([[[]]], 422, "not an image"),
        ([[[[]]]], 422, "not an image"),
        ([["abc", "abc"]], 422, "shape"),
        ([[5, 5]], 422, "not an image"),
        ([[[5, 5], [5, 5]]], 422, "not an image"),
        ([[*GOOD[:-1], GOOD[0][:-1]]], 422, "nested"),
        ([[*GOOD[:-1], None]], 422, "not an image"),
        ([[[[256, 0, 0]] * 8] * 8], 422, "[0, 255]"),
        ([[[[1.5, 0, 0]] * 8] * 8], 422, "[0, 1]"),
        ([[[[True, 0, 0]] * 8] * 8], 422, "[0, 255]"),
        ([[[["1", 0, 0]] * 8] * 8], 422, "[0, 255]"),
        ([[[[1, 0]] * 8] * 8], 422, "shape"),
        ([GOOD] * 5, 413, "send at most 4"),
        ([np.zeros((32, 33, 3), int).tolist()], 413, "at most 1024"),
        ([b64(noise(33, 32, 3))], 413, "at most 1024"),
        ([GOOD, np.zeros((9, 8, 3), int).tolist()], 422, "one by one"),
    ],
)
def test_instances_that_are_not_images_are_refused(ask, stub, instances, status, message):
    answer = ask(instances, max_images=4, max_pixels=1024)
    assert answer.status_code == status
    assert message in answer.json()["error"]
    assert stub.received == []


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b"null", b'{"inputs": [1]}', b"[" * 100_000])
def test_a_body_that_is_not_a_request_is_refused(front, stub, body):
    answer = front(predictor_protocol="v1").post(PREDICT, content=body)
    assert answer.status_code in (400, 422)
    assert list(answer.json()) == ["error"]
    assert stub.received == []


@pytest.mark.parametrize("path", ["/v1/models/other:predict", "/v2/models/m/infer"])
def test_other_paths_are_not_found(front, stub, path):
    answer = front(predictor_protocol="v1").post(path, json={"instances": [GOOD]})
    assert answer.status_code == 404
    assert isinstance(answer.json()["error"], str)
    assert stub.received == []


@pytest.mark.parametrize("protocol", ["v1", "v2"])
def test_a_query_is_refused_because_it_is_not_passed_on(front, stub, protocol):
    client = front(predictor_protocol=protocol)
    paths = {"v1": [PREDICT], "v2": ["/v2/models/m/infer", "/v2/models/m/versions/1/infer"]}
    for path in paths[protocol]:
        answer = client.post(f"{path}?draws=2", json={})
        assert answer.status_code == 422
        assert "'draws'" in answer.json()["error"]
    assert client.get(f"/{protocol}/models/m?verbose=1").status_code == 422
    assert stub.received == []


def test_an_image_file_is_not_a_request(front, make_photograph):
    answer = front(predictor_protocol="v1").post(PREDICT, content=make_photograph())
    assert answer.status_code == 400
    expected = "The request's JSON cannot be read: the body is not JSON."
    assert answer.json() == {"error": expected}  # the header of v2 has no meaning here


def test_a_guess_of_the_scaling_is_warned_of_once_numbers_are_sent(ask, stub, caplog):
    assert ask([noise(20, 24, 3).tolist()]).status_code == 200
    assert "--predictor-manifest" not in caplog.text
    assert ask([b64(noise(20, 24, 3))]).status_code == 200
    assert "--predictor-manifest" in caplog.text
