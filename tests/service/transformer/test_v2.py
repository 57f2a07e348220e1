"""Requests to a classifier over the Open Inference Protocol, and its answers."""

import gzip
import json
from io import BytesIO
from time import time

import numpy as np
import pytest
from PIL import Image

from defenses import Pipeline
from models import GraphInput, Manifest, Scaling, fit

INFER = "/v2/models/m/infer"
LENGTH = "inference-header-content-length"
PLAIN = Scaling(mean=(0, 0, 0), std=(255, 255, 255))


def noise(*shape, dtype=np.uint8):
    generator = np.random.default_rng(7)
    if dtype == np.uint8:
        return generator.integers(0, 256, shape, np.uint8)
    return generator.random(shape, np.float32)


def png(pixels):
    buffer = BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def pixels_of(file):
    return np.asarray(Image.open(BytesIO(file)))


def takes(datatype, *shape):
    return [{"name": "pixels", "datatype": datatype, "shape": list(shape)}]


def as_json(pixels, **fields):
    tensor = {"name": "image", "shape": list(pixels.shape), "data": pixels.ravel().tolist()}
    tensor["datatype"] = "UINT8" if pixels.dtype == np.uint8 else "FP32"
    return {"json": {"inputs": [tensor], **fields}}


# The upstream's request


def test_undefended_pixels_arrive_bit_for_bit(front, stub, binary):
    client, pixels = front(), noise(3, 32, 32, 3)
    assert client.post(INFER, **binary(pixels)).json() == {"outputs": []}
    (request,) = stub.received
    assert request.path == INFER
    assert request.document["inputs"][0]["name"] == "pixels"
    np.testing.assert_array_equal(request.tensor, pixels)


def test_the_log_has_the_images_of_a_request(front, binary, caplog):
    client = front()
    with caplog.at_level("INFO", "service.access"):
        client.post(INFER, **binary(noise(3, 32, 32, 3)))
    (line,) = [each.fields for each in caplog.records if each.name == "service.access"]
    assert (line["images"], line["draws"]) == (3, 1)
    assert "agreement" not in line  # that is for the classifier behind to say


@pytest.mark.parametrize("as_file", [False, True])
def test_the_upstream_gets_defended_images(front, stub, binary, as_file):
    client, pixels = front(defense="fd"), noise(32, 32, 3)
    sent = binary(files=[png(pixels)]) if as_file else binary(pixels[None])
    assert client.post(INFER, **sent).status_code == 200
    (request,) = stub.received
    defended = Pipeline.parse("fd")(pixels, None)
    assert (defended != pixels).any()
    np.testing.assert_array_equal(request.tensor, [defended])


def test_every_image_is_defended_with_a_draw_of_its_own(front, stub, binary):
    client, pixels = front(defense="rdg(delta=1.0)"), noise(32, 32, 3)
    for _ in range(2):
        assert client.post(INFER, **binary(np.stack([pixels, pixels]))).status_code == 200
    images = [image for request in stub.received for image in request.tensor]
    assert len({image.tobytes() for image in [*images, pixels]}) == 5


@pytest.mark.parametrize("side", [32, -1])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW"])
@pytest.mark.parametrize("datatype", ["UINT8", "FP32"])
@pytest.mark.parametrize("given", [np.uint8, np.float32])
def test_pixels_are_converted_to_the_upstream_s_form(
    front, stub, binary, given, datatype, layout, side
):
    stub.inputs = takes(datatype, -1, *((side, side, 3) if layout == "NHWC" else (3, side, side)))
    pixels = noise(2, 32, 32, 3, dtype=given)
    assert front().post(INFER, **binary(pixels)).status_code == 200
    (request,) = stub.received
    assert request.document["inputs"][0]["datatype"] == datatype
    got = request.tensor if layout == "NHWC" else request.tensor.transpose(0, 2, 3, 1)
    in_unit = pixels if given == np.float32 else pixels / np.float32(255)
    if datatype == "UINT8":
        np.testing.assert_array_equal(got, np.rint(in_unit * 255))
    elif given == np.float32:
        np.testing.assert_array_equal(got, pixels)
    else:
        np.testing.assert_allclose(got, in_unit, rtol=1e-6)


@pytest.mark.parametrize("extensions", [["binary_tensor_data"], []])
@pytest.mark.parametrize("shape", [[-1], [-1, 1]])
def test_an_upstream_of_files_gets_files(front, stub, binary, shape, extensions):
    stub.extensions = extensions
    stub.inputs = takes("BYTES", *shape)
    pixels = noise(20, 24, 3), noise(48, 16, 3)
    assert front().post(INFER, **binary(files=[png(each) for each in pixels])).status_code == 200
    (request,) = stub.received
    assert request.document["inputs"][0]["shape"] == [2, *shape[1:]]
    for file, image in zip(request.tensor, pixels, strict=True):
        np.testing.assert_array_equal(pixels_of(file), image)


def test_images_are_resized_to_a_fixed_size_before_they_are_defended(front, stub, binary):
    pixels = noise(40, 48, 3), noise(64, 36, 3)
    client = front(defense="fd")
    assert client.post(INFER, **binary(files=[png(each) for each in pixels])).status_code == 200
    size = Manifest(name="x", scaling=PLAIN, input=GraphInput(height_px=32, width_px=32))
    expected = [Pipeline.parse("fd")(fit(each, size), None) for each in pixels]
    np.testing.assert_array_equal(stub.received[0].tensor, expected)


def test_images_of_different_sizes_cannot_form_one_tensor(front, stub, binary):
    stub.inputs = takes("FP32", -1, -1, -1, 3)
    files = [png(noise(20, 24, 3)), png(noise(24, 24, 3))]
    answer = front().post(INFER, **binary(files=files))
    assert answer.status_code == 422
    assert "one by one" in answer.json()["error"]
    assert stub.received == []


def test_an_image_that_is_too_small_for_the_defence_is_refused(front, stub, binary):
    stub.inputs = takes("UINT8", -1, -1, -1, 3)
    answer = front(defense="rdg(cell=33)").post(INFER, **binary(noise(1, 32, 48, 3)))
    assert answer.status_code == 422
    assert "cell is 33 px, larger than the image" in answer.json()["error"]


def test_a_manifest_describes_the_input(front, stub, binary, tmp_path, caplog):
    stub.inputs = []  # as if the server had no metadata
    scaling = Scaling(mean=(10, 20, 30), std=(2, 4, 8))
    size = GraphInput(name="x", layout="NCHW", height_px=32, width_px=32)
    path = tmp_path / "manifest.json"
    path.write_text(Manifest(name="any", scaling=scaling, input=size).model_dump_json())
    pixels = noise(1, 32, 32, 3)
    assert front(predictor_manifest=path).post(INFER, **binary(pixels)).status_code == 200
    (request,) = stub.received
    assert request.document["inputs"][0]["name"] == "x"
    expected = (pixels - np.array(scaling.mean)) / np.array(scaling.std)
    np.testing.assert_allclose(request.tensor, expected.transpose(0, 3, 1, 2), rtol=1e-5)
    assert "--predictor-manifest" not in caplog.text


@pytest.mark.parametrize(
    ("extensions", "is_binary"),
    [(["classification", "binary_tensor_data"], True), (["classification"], False), (None, False)],
)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("given_binary", [False, True])
def test_the_upstream_s_extensions_decide_between_binary_and_json(
    front, stub, binary, extensions, is_binary, dtype, given_binary
):
    stub.extensions = extensions
    stub.inputs = takes("FP32" if dtype == np.float32 else "UINT8", -1, 32, 32, 3)
    pixels = noise(2, 32, 32, 3, dtype=dtype)
    fields = {
        "parameters": {"binary_data_output": True},
        "outputs": [{"name": "y", "parameters": {"binary_data": True, "classification": 2}}],
    }
    sent = binary(pixels, **fields) if given_binary else as_json(pixels, **fields)
    assert front().post(INFER, **sent).status_code == 200
    (request,) = stub.received
    assert request.is_binary == is_binary
    kind = "application/octet-stream" if is_binary else "application/json"
    assert request.headers["content-type"] == kind
    np.testing.assert_array_equal(request.tensor, pixels)
    if is_binary:
        assert {name: request.document[name] for name in fields} == fields
    else:
        assert "parameters" not in request.document
        assert request.document["outputs"] == [{"name": "y", "parameters": {"classification": 2}}]


def test_a_body_may_be_one_image_file(front, stub):
    pixels = noise(32, 32, 3)
    answer = front().post(INFER, content=png(pixels), headers={LENGTH: "0"})
    assert answer.status_code == 200
    (request,) = stub.received
    np.testing.assert_array_equal(request.tensor, [pixels])
    assert request.document["parameters"] == {"binary_data_output": True}


def test_parameters_for_this_server_are_not_passed_on(front, stub, binary):
    parameters = {"defense": "fd", "draws": 1, "timeout": 10**9, "priority": 3}
    sent = binary(noise(1, 32, 32, 3), id="7", model_name="m", parameters=parameters)
    assert front().post(INFER, **sent).status_code == 200
    document = stub.received[0].document
    del document["inputs"]
    assert document == {"id": "7", "parameters": {"priority": 3}}


def test_a_version_is_passed_on(front, stub, binary):
    client = front()
    answer = client.post("/v2/models/m/versions/2/infer", **binary(noise(1, 32, 32, 3)))
    assert answer.status_code == 200
    assert stub.received[0].path == "/v2/models/m/versions/2/infer"


def test_ids_are_passed_on_and_secrets_are_not(front, stub, binary):
    ids = {
        "x-request-id": "abc",
        "traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "vendor=1",
        "b3": "0",
        "x-b3-traceid": "463ac35c9f6413ad48485a3953bb6124",
    }
    secrets = {"authorization": "Bearer x", "cookie": "a=b", "x-api-key": "k"}
    sent = binary(noise(1, 32, 32, 3))
    sent["headers"] |= ids | secrets
    answer = front().post(INFER, **sent)
    assert answer.headers.get_list("x-request-id") == ["abc"]
    (request,) = stub.received
    assert {name: request.headers[name] for name in ids} == ids
    assert request.headers.keys().isdisjoint(secrets)


def test_a_request_without_an_id_gets_one(front, stub, binary):
    answer = front().post(INFER, **binary(noise(1, 32, 32, 3)))
    assert stub.received[0].headers["x-request-id"] == answer.headers["x-request-id"]


TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("traceparent", TRACE.upper()),
        ("traceparent", f"{TRACE} "[1:]),
        ("traceparent", f"ff{TRACE[2:]}"),
        ("traceparent", f"{TRACE}-more"),
        ("traceparent", f"00-{32 * '0'}-b7ad6b7169203331-01"),
        ("traceparent", f"00-0af7651916cd43dd8448eb211c80319c-{16 * '0'}-01"),
        ("tracestate", "\u00e9=1"),
        ("tracestate", "novalue"),
        ("tracestate", "a=1,,=2"),
        ("tracestate", "a=" + 600 * "1"),
        ("b3", "x"),
        ("x-b3-traceid", "<script>"),
        ("x-b3-spanid", 15 * "0"),
        ("x-b3-sampled", "yes"),
        ("x-b3-flags", "01"),
    ],
)
def test_ids_that_are_not_valid_are_left_out(front, stub, binary, name, value):
    sent = binary(noise(1, 32, 32, 3))
    given = {"traceparent": TRACE, "b3": "1", name: value}
    sent["headers"] = [
        *sent["headers"].items(),
        *((key.encode(), value.strip(" ").encode("latin-1")) for key, value in given.items()),
    ]
    assert front().post(INFER, **sent).status_code == 200
    (request,) = stub.received
    assert name not in request.headers
    assert {"traceparent", "b3"} - {name} <= request.headers.keys()


def test_headers_of_the_connection_are_not_passed_on(front, stub, binary):
    sent = binary(noise(1, 32, 32, 3))
    sent["headers"] |= {"traceparent": TRACE, "tracestate": "a=1", "b3": "1"}
    sent["headers"] |= {"connection": "close, B3 ,traceparent", "proxy-authorization": "x"}
    assert front().post(INFER, **sent).status_code == 200
    (request,) = stub.received
    hop_by_hop = {"traceparent", "b3", "tracestate", "connection", "proxy-authorization"}
    assert request.headers.keys().isdisjoint(hop_by_hop)


def test_a_header_that_is_sent_twice_is_left_out(front, stub, binary):
    sent = binary(noise(1, 32, 32, 3))
    sent["headers"] = [*sent["headers"].items(), ("traceparent", TRACE), ("traceparent", TRACE)]
    assert front().post(INFER, **sent).status_code == 200
    assert "traceparent" not in stub.received[0].headers


# The client's answer


@pytest.mark.parametrize("status", [200, 400, 404, 422, 429, 500, 503])
def test_the_answer_is_the_upstream_s_own(front, stub, binary, status):
    body = b'{"error": "its own",  "more": [1.50]}'
    stub.do = lambda handler, _: handler.answer(status, body, retry_after="7", x_secret="s")
    answer = front().post(INFER, **binary(noise(1, 32, 32, 3)))
    assert (answer.status_code, answer.content) == (status, body)
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["retry-after"] == "7"
    assert "x-secret" not in answer.headers
    assert len(stub.received) == 1, "an answered request is not sent again"


def test_binary_outputs_are_passed_back_unchanged(front, stub, binary):
    json_part = json.dumps({"outputs": [{"name": "y", "parameters": {"binary_data_size": 4}}]})
    body = json_part.encode() + b"\0\1\2\3"
    stub.do = lambda handler, _: handler.answer(
        200,
        body,
        content_type="application/octet-stream",
        inference_header_content_length=str(len(json_part)),
    )
    answer = front().post(INFER, **binary(noise(1, 32, 32, 3)))
    assert answer.content == body
    assert answer.headers[LENGTH] == str(len(json_part))
    assert answer.headers["content-type"] == "application/octet-stream"


def test_a_compressed_answer_is_decompressed(front, stub, binary):
    body = json.dumps({"outputs": list(range(1000))}).encode()
    stub.do = lambda handler, _: handler.answer(200, gzip.compress(body), content_encoding="gzip")
    sent = binary(noise(1, 32, 32, 3))
    sent["headers"]["accept-encoding"] = "identity"
    answer = front().post(INFER, **sent)
    assert "content-encoding" not in answer.headers
    assert answer.content == body
    assert stub.received[0].headers["accept-encoding"] == "identity"


def test_a_large_answer_is_passed_back(front, stub, binary):
    body = bytes(50_000_000)
    stub.do = lambda handler, _: handler.answer(200, body, content_type="text/plain")
    assert front().post(INFER, **binary(noise(1, 32, 32, 3))).content == body


def test_the_metadata_is_the_upstream_s_own(front, stub):
    client = front()
    for path in ("/v2/models/m", "/v2/models/m/versions/1"):
        assert client.get(path).json() == stub.usual("/v2/models/m")[1]
    stub.get = lambda _: (404, {"error": "unloaded"})
    answer = client.get("/v2/models/m")
    assert (answer.status_code, answer.json()) == (404, {"error": "unloaded"})


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"parameters": {"draws": 2}}, "draws can only be 1"),
        ({"parameters": {"draws": 99}}, "draws"),
        ({"parameters": {"defense": "rdg"}}, "Allowed on this server: none, fd, rand"),
        ({"parameters": {"timeout": "soon"}}, "timeout"),
        ({"parameters": 5}, "parameters"),
        ({"unknown": 1}, "unknown"),
        ({"inputs": []}, "inputs"),
        ({"outputs": [{"name": "y", "parameters": {"shared_memory_region": "r"}}]}, "shared"),
    ],
)
def test_a_request_that_is_not_valid_is_not_passed_on(front, stub, binary, fields, message):
    answer = front().post(INFER, **binary(noise(1, 32, 32, 3), **fields))
    assert answer.status_code == 422
    assert message in answer.json()["error"]
    assert stub.received == []


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/v2/models/other/infer", 404),
        ("/v2/models/m/versions/..%2f../infer", 404),
        ("/v2/models/m/versions/%3fx/infer", 404),
        ("/v1/other", 404),
    ],
)
def test_other_paths_are_not_found(front, stub, binary, path, status):
    answer = front().post(path, **binary(noise(1, 32, 32, 3)))
    assert answer.status_code == status
    assert stub.received == []


@pytest.mark.parametrize(
    ("protocol", "path", "right"),
    [
        ("v2", "/v1/predict", INFER),
        ("v2", "/v1/defend", INFER),
        ("v2", "/v1/models/m:predict", INFER),
        ("v1", "/v1/predict", "/v1/models/m:predict"),
        ("v1", INFER, "/v1/models/m:predict"),
    ],
)
def test_paths_that_another_server_has_name_the_right_one(front, stub, protocol, path, right):
    client = front(predictor_protocol=protocol)
    answer = client.post(path, content=png(noise(32, 32, 3)))
    assert answer.status_code == 404
    error = answer.json()["error"]
    message = error if isinstance(error, str) else error["message"]
    assert message.endswith(f"Send the images to POST {right}.")
    assert isinstance(error, str) or error["code"] == "not_found"
    assert stub.received == []
    assert not {"/v1/predict", "/v1/defend"} & client.get("/openapi.json").json()["paths"].keys()


@pytest.mark.parametrize("datatype", ["FP32", "UINT8"])
def test_a_guess_of_the_scaling_is_warned_of(front, stub, binary, caplog, datatype, monkeypatch):
    stub.inputs = takes(datatype, -1, 32, 32, 3)
    client = front()
    lines = [line for line in caplog.messages if "--predictor-manifest" in line]
    assert len(lines) == (datatype == "FP32")
    for _ in range(3):
        assert client.post(INFER, **binary(noise(1, 32, 32, 3))).status_code == 200
    lines = [line for line in caplog.messages if "--predictor-manifest" in line]
    assert len(lines) == (datatype == "FP32"), "not for each request"
    monkeypatch.setattr("service.transformer.transformer.time.monotonic", lambda: time() + 10**9)
    assert client.post(INFER, **binary(noise(1, 32, 32, 3))).status_code == 200
    lines = [line for line in caplog.messages if "--predictor-manifest" in line]
    assert len(lines) == 2 * (datatype == "FP32"), "again after a while"


def test_an_error_names_the_bad_image(front, stub, binary):
    answer = front().post(INFER, **binary(files=[png(noise(32, 32, 3)), b"\x89PNG\r\n\x1a\nno"]))
    assert answer.status_code == 400
    assert answer.json()["error"].startswith("Image 2 of 2: This PNG file is cut short")
    assert stub.received == []


def test_a_request_may_name_an_allowed_defence(front, stub, binary):
    client, pixels = front(), noise(32, 32, 3)
    sent = binary(pixels[None], parameters={"defense": "fd"})
    assert client.post(INFER, **sent).status_code == 200
    np.testing.assert_array_equal(stub.received[0].tensor, [Pipeline.parse("fd")(pixels, None)])
    assert client.get("/v1/defenses").json()["default"] == "none"


def test_forwarded_requests_are_counted(front, stub, binary):
    client = front(defense="fd")
    assert client.post(INFER, **binary(noise(2, 32, 32, 3))).status_code == 200
    client.post(INFER, **binary(noise(1, 32, 32, 3), parameters={"draws": 2}))
    metrics = client.get("/metrics").text
    assert 'warpguard_images_total{defense="fd"} 2.0' in metrics
    for stage in ("receive", "decode", "defend", "preprocess", "infer", "total"):
        assert f'warpguard_stage_seconds_count{{stage="{stage}"}}' in metrics
    assert 'warpguard_stage_seconds_count{stage="infer"} 1.0' in metrics
    assert 'warpguard_errors_total{code="invalid_parameter"} 1.0' in metrics
    assert 'warpguard_model_info{name="m",provider="upstream"} 1.0' in metrics
    assert "warpguard_ready 1.0" in metrics
