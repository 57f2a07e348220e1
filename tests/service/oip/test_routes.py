"""The Open Inference Protocol over HTTP, with the classifier of colours."""

import gzip
import json
import struct
import threading
import time
import zlib
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from service import __version__

INFER = "/v2/models/colours/infer"
LENGTH = "Inference-Header-Content-Length"
FAR = "fd+rdg(delta=1.0)"
"""A defence whose draws always differ; on 32 x 32 pixels, two of fd+rdg are sometimes equal."""
RED, GREEN, BLUE = (220, 20, 20), (20, 220, 20), (20, 20, 220)


def plain(*colours, size=(32, 32)):
    """Images of one colour each: (N, H, W, 3) uint8."""
    return np.array([np.full((*size, 3), colour) for colour in colours], np.uint8)


def scores(colour):
    logits = 10 * np.array(colour) / 255
    exponentials = np.exp(logits)
    return logits, exponentials / exponentials.sum()


def request(array, binary=True, **more):
    """The body of a request, and its headers."""
    tensor = {
        "name": "anything",
        "shape": array.shape,
        "datatype": {"uint8": "UINT8", "float32": "FP32"}[array.dtype.name],
    }
    if not binary:
        return json.dumps({"inputs": [tensor | {"data": array.tolist()}]} | more).encode(), {}
    tensor["parameters"] = {"binary_data_size": array.nbytes}
    text = json.dumps({"inputs": [tensor]} | more).encode()
    return text + array.tobytes(), {LENGTH: str(len(text))}


def files(*contents, **more):
    raw = b"".join(struct.pack("<I", len(content)) + content for content in contents)
    tensor = {"name": "image", "shape": [len(contents), 1], "datatype": "BYTES"}
    tensor["parameters"] = {"binary_data_size": len(raw)}
    text = json.dumps({"inputs": [tensor]} | more).encode()
    return text + raw, {LENGTH: str(len(text))}


def png(array):
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, "PNG")
    return buffer.getvalue()


def post(client, body, headers, path=INFER):
    """Send a request; return the answer's JSON, and the array of each output."""
    answer = client.post(path, content=body, headers=headers)
    assert answer.status_code == 200, answer.text
    split = answer.headers.get(LENGTH)
    content_type = "application/json" if split is None else "application/octet-stream"
    assert answer.headers["content-type"] == content_type
    document = json.loads(answer.content[: None if split is None else int(split)])
    rest = answer.content[len(answer.content) if split is None else int(split) :]
    arrays = {}
    for output in document["outputs"]:
        dtype = {"FP32": np.float32, "UINT8": np.uint8, "BYTES": object}[output["datatype"]]
        if "data" in output:
            values = np.array(output["data"], dtype)
        else:
            size = output["parameters"]["binary_data_size"]
            values, rest = np.frombuffer(rest[:size], dtype), rest[size:]
        arrays[output["name"]] = values.reshape(output["shape"])
    assert rest == b""
    return document, arrays


def refused(client, body, headers=None, status=422, path=INFER):
    answer = client.post(path, content=body, headers=headers or {})
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    assert answer.headers["x-warpguard-help"].startswith("docs/troubleshooting.md#")
    return answer.json()["error"]


def outputs_of(*names, binary=None):
    parameters = {} if binary is None else {"parameters": {"binary_data": binary}}
    return {"outputs": [{"name": name} | parameters for name in names]}


NONE = {"parameters": {"defense": "none"}}


def test_the_server_describes_itself(client):
    assert client.get("/v2").json() == {
        "name": "warpguard",
        "version": __version__,
        "extensions": ["binary_tensor_data", "classification"],
    }
    assert client.get("/v2/health/live").json() == {"live": True}
    assert client.get("/v2/health/ready").json() == {"live": True, "ready": True}
    assert client.post("/v2/repository/index", content=b"").json() == [
        {"name": "colours", "version": "1", "state": "READY", "reason": ""}
    ]


@pytest.mark.parametrize("path", ["/v2/models/colours", "/v2/models/colours/versions/1"])
def test_the_model_is_described(client, path):
    assert client.get(path).json() == {
        "name": "colours",
        "versions": ["1"],
        "platform": "onnxruntime_onnx",
        "inputs": [{"name": "image", "datatype": "BYTES", "shape": [-1]}],
        "outputs": [
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "logits", "datatype": "FP32", "shape": [-1, 3]},
            {"name": "agreement", "datatype": "FP32", "shape": [-1]},
            {"name": "defended", "datatype": "UINT8", "shape": [-1, 32, 32, 3]},
        ],
        "parameters": {"precision": "fp32"},
    }
    assert client.get(f"{path}/ready").json() == {"name": "colours", "ready": True}
    _, arrays = post(client, *request(plain(RED), **NONE), path=f"{path}/infer")
    np.testing.assert_allclose(arrays["probabilities"], [scores(RED)[1]], atol=1e-5)


def test_a_model_of_probabilities_has_no_logits(start, load_colours):
    def load():
        classifier = load_colours()
        output = classifier.manifest.output.model_copy(update={"kind": "probabilities"})
        classifier.manifest = classifier.manifest.model_copy(update={"output": output})
        return classifier

    client = start(load)
    names = [output["name"] for output in client.get("/v2/models/colours").json()["outputs"]]
    assert names == ["probabilities", "agreement", "defended"]
    error = refused(client, *request(plain(RED), **outputs_of("logits")))
    assert error == "Unknown output 'logits'. Outputs: probabilities, agreement, defended."


@pytest.mark.parametrize("kind", [np.uint8, np.float32])
@pytest.mark.parametrize("binary", [True, False])
@pytest.mark.parametrize("layout", ["NHWC", "NCHW", "HWC", "CHW"])
def test_pixels_are_classified(client, kind, binary, layout):
    colours = (RED, GREEN, BLUE)[: 3 if layout[0] == "N" else 1]
    array = plain(*colours)
    if kind == np.float32:
        array = array.astype(np.float32) / np.float32(255)
    if "CH" in layout:
        array = array.transpose(0, 3, 1, 2)
    expected = array
    if layout[0] != "N":
        array = array[0]
    names = ("probabilities", "logits", "agreement", "defended")
    document, arrays = post(
        client,
        *request(np.ascontiguousarray(array), binary, **outputs_of(*names, binary=binary), **NONE),
    )
    assert [output["name"] for output in document["outputs"]] == list(names)
    logits, probabilities = zip(*map(scores, colours), strict=True)
    np.testing.assert_allclose(arrays["logits"], logits, atol=1e-4)
    np.testing.assert_allclose(arrays["probabilities"], probabilities, atol=1e-5)
    np.testing.assert_array_equal(arrays["agreement"], np.ones(len(colours)))
    assert arrays["defended"].dtype == kind
    np.testing.assert_array_equal(arrays["defended"], expected)


def test_image_files_are_classified(client, make_photograph):
    contents = [make_photograph(colour, kind="JPEG") for colour in ("green", "blue", "red")]
    document, arrays = post(client, *files(*contents, **outputs_of("probabilities", "defended")))
    assert arrays["probabilities"].argmax(axis=1).tolist() == [1, 2, 0]
    assert arrays["defended"].shape == (3, 32, 32, 3)
    assert arrays["defended"].mean(axis=(1, 2)).argmax(axis=1).tolist() == [1, 2, 0]
    assert document["outputs"][1]["datatype"] == "UINT8"


def test_the_whole_body_may_be_one_image_file(client):
    document, arrays = post(client, png(plain(BLUE)[0]), {LENGTH: "0"})
    assert list(arrays) == ["probabilities"]
    assert arrays["probabilities"].argmax() == 2
    assert "data" not in document["outputs"][0]


def test_images_of_other_sizes_are_resized_to_the_model_s(client):
    array = plain(GREEN, size=(50, 90))
    _, arrays = post(client, *request(array, **outputs_of("probabilities", "defended"), **NONE))
    np.testing.assert_array_equal(arrays["defended"], plain(GREEN))
    for channels_first in (False, True):
        array = np.random.default_rng(1).random((2, 3, 70, 41), np.float32)
        if not channels_first:
            array = np.ascontiguousarray(array.transpose(0, 2, 3, 1))
        _, arrays = post(client, *request(array, **outputs_of("defended", binary=True)))
        assert arrays["defended"].shape == ((2, 3, 32, 32) if channels_first else (2, 32, 32, 3))


def test_both_layouts_of_an_image_are_defended_alike(client):
    array = np.random.default_rng(2).integers(0, 256, (2, 60, 45, 3), np.uint8)
    first = np.ascontiguousarray(array.transpose(0, 3, 1, 2))
    for defense in ("none", "fd"):
        more = outputs_of("defended", "logits") | {"parameters": {"defense": defense}}
        _, last_arrays = post(client, *request(array, **more))
        _, first_arrays = post(client, *request(first, **more))
        np.testing.assert_array_equal(last_arrays["logits"], first_arrays["logits"])
        np.testing.assert_array_equal(
            last_arrays["defended"], first_arrays["defended"].transpose(0, 2, 3, 1)
        )


def test_an_answer_names_the_model_and_the_defaults(client):
    document, arrays = post(client, *request(plain(RED)))
    assert list(arrays) == ["probabilities"]
    assert document["model_name"] == "colours"
    assert document["model_version"] == "1"
    assert document["parameters"] == {"defense": "fd+rdg", "draws": 1, "precision": "fp32"}
    assert "id" not in document
    document, _ = post(client, *request(plain(RED), id="an id"))
    assert document["id"] == "an id"


def test_draws_are_averaged_and_returned_in_order(start, load_colours):
    client = start(defense=FAR)
    dark = np.random.default_rng(3).integers(0, 128, (32, 32, 3), np.uint8)
    array = np.stack([dark, dark + 128])
    more = outputs_of("defended", "agreement") | {"parameters": {"draws": 4}}
    document, arrays = post(client, *request(array, **more))
    assert document["parameters"]["draws"] == 4
    assert arrays["defended"].shape == (8, 32, 32, 3)
    assert len({image.tobytes() for image in arrays["defended"]}) == 8
    off = np.abs(arrays["defended"].astype(int)[:, None] - array).mean(axis=(2, 3, 4))
    # The draws of an image follow each other.
    assert off.argmin(axis=1).tolist() == [0] * 4 + [1] * 4

    def load():
        """The model calls the first quarter of a batch blue, the rest red with more certainty."""
        classifier = load_colours()
        classifier.run = lambda batch: np.array(
            [[0, 0, 1] if i < len(batch) // 4 else [9, 0, 0] for i in range(len(batch))], np.float32
        )
        return classifier

    more = outputs_of("agreement", "logits") | {"parameters": {"draws": 4}}
    _, arrays = post(start(load), *request(plain(RED), **more))
    assert arrays["agreement"].tolist() == [0.75]
    assert arrays["logits"].tolist() == [[6.75, 0, 0.25]]


def test_equal_requests_are_defended_differently(start):
    client = start(defense=FAR)
    array = np.random.default_rng(4).integers(0, 256, (1, 32, 32, 3), np.uint8)
    body, headers = request(array, **outputs_of("defended"), id="one for both")
    _, first = post(client, body, headers)
    _, second = post(client, body, headers)
    assert not np.array_equal(first["defended"], second["defended"])


@pytest.mark.parametrize("binary", [True, False])
def test_a_classification_lists_the_highest_scores(start, load_colours, binary):
    def load():
        classifier = load_colours()
        for_red, for_blue = [-0.25, 10, 1.5], [2, 2, 3.0000005]
        classifier.run = lambda batch: np.array(
            [for_red if row[0].mean() > row[2].mean() else for_blue for row in batch], np.float32
        )
        return classifier

    outputs = [
        {"name": "logits", "parameters": {"classification": 2, "binary_data": binary}},
        {"name": "probabilities", "parameters": {"classification": 9}},
    ]
    body, headers = request(plain(RED, BLUE), outputs=outputs)
    answer = start(load).post(INFER, content=body, headers=headers)
    highest = [b"10.000000:1:green", b"1.500000:2:blue", b"3.000000:2:blue", b"2.000000:0:red"]
    split = int(answer.headers.get(LENGTH, len(answer.content)))
    document = json.loads(answer.content[:split])
    logits, probabilities = document["outputs"]
    assert (logits["datatype"], logits["shape"]) == ("BYTES", [2, 2])
    raw = b"".join(struct.pack("<I", len(each)) + each for each in highest)
    if binary:
        assert logits["parameters"] == {"binary_data_size": len(raw)}
        assert answer.content[split:] == raw
    else:
        assert logits["data"] == [each.decode() for each in highest]
        assert split == len(answer.content)
    assert (probabilities["datatype"], probabilities["shape"]) == ("BYTES", [2, 3])
    assert probabilities["data"][0] == "0.999761:1:green"
    assert [each.split(":", 1)[1] for each in probabilities["data"][3:]] == [
        "2:blue",
        "0:red",
        "1:green",
    ]


@pytest.mark.parametrize("output", ["agreement", "defended"])
def test_only_scores_have_classifications(client, output):
    outputs = [{"name": output, "parameters": {"classification": 1}}]
    error = refused(client, *request(plain(RED), outputs=outputs))
    assert error == f"The parameter classification is for probabilities and logits, not {output}."


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_requests_and_answers_may_be_compressed(client, coding):
    compress = {"gzip": gzip.compress, "deflate": zlib.compress}[coding]
    body, headers = request(plain(RED), **outputs_of("defended", binary=True), **NONE)
    headers |= {"content-encoding": coding, "accept-encoding": coding}
    answer = client.post(INFER, content=compress(body), headers=headers)
    assert answer.headers["content-encoding"] == coding
    assert int(answer.headers["content-length"]) < 600
    assert answer.content.endswith(plain(RED).tobytes())  # the client has decompressed it
    photograph = compress(png(plain(GREEN)[0]))
    answer = client.post("/v1/predict", content=photograph, headers={"content-encoding": coding})
    assert answer.json()["predictions"][0]["label"] == "green"


def test_compressed_bodies_have_their_limit(start):
    client = start(max_body_bytes=10_000)
    body = gzip.compress(bytes(10_001))
    for path in (INFER, "/v1/predict"):
        answer = client.post(path, content=body, headers={"content-encoding": "gzip"})
        assert answer.status_code == 413
        assert "The decompressed body is larger than 10000 bytes" in answer.text
    headers = {"content-encoding": "br"}
    assert "gzip and deflate" in refused(client, b"x", headers, status=415)
    headers = {"content-encoding": "gzip"}
    assert "cut short" in refused(client, gzip.compress(b"x")[:9], headers, status=400)


def test_every_error_is_in_the_protocol_s_shape(client, make_photograph):
    assert refused(client, b"", status=400).startswith("The body is empty")
    assert refused(client, b"{}") == "inputs: Field required"
    assert refused(client, bytes(33 * 2**20), status=413).startswith("The body is larger")
    assert "Unknown model 'x' of version '1'; 'colours' is served, version '1'" in refused(
        client, *request(plain(RED)), status=404, path="/v2/models/x/infer"
    )
    assert "version '2'" in refused(
        client, *request(plain(RED)), status=404, path="/v2/models/colours/versions/2/infer"
    )
    unknown = {"parameters": {"defense": "webp"}}
    error = refused(client, *request(plain(RED), **unknown))
    assert error == (
        "Unknown defence. Allowed on this server: fd+rdg, none, fd, rand. "
        "Its operator can allow more with --allow-defense."
    )
    error = refused(client, *files(b"not an image"), status=415)
    assert error.startswith("Not a supported image file. Supported formats: JPEG")
    error = refused(client, *files(make_photograph(), make_photograph()[:99]), status=400)
    assert error == "Image 2 of 2: This PNG file is cut short or corrupted."
    error = refused(client, *request(plain(*[RED] * 33)), status=413)
    assert error == "The request has 33 images; send at most 32."
    error = refused(client, *request(plain(*[RED] * 17), parameters={"draws": 16}), status=413)
    assert "272 images, each draw counting as one; send at most 256" in error
    for path, status, message in (
        ("/v2/nothing", 404, "Not Found"),
        ("/v2/models/a/b/c", 404, "Not Found"),
        ("/v2/models/x", 404, "Unknown model 'x'"),
        ("/v2/models/x/ready", 404, "Unknown model 'x'"),
        ("/v2/models/colours/versions/3/ready", 404, "of version '3'"),
        (INFER, 405, "Method Not Allowed"),
    ):
        answer = client.get(path)
        assert answer.status_code == status
        assert set(answer.json()) == {"error"}
        assert message in answer.json()["error"]


def test_an_error_is_not_compressed(client):
    """Triton's client does not decompress errors."""
    outputs = [{"name": "x" * 5000}]
    body, headers = request(plain(RED), outputs=outputs)
    answer = client.post(INFER, content=body, headers=headers | {"accept-encoding": "gzip"})
    assert answer.status_code == 422
    assert "content-encoding" not in answer.headers


def test_not_ready_until_the_model_is_loaded(start, load_colours):
    release = threading.Event()

    def load():
        release.wait(60)
        return load_colours()

    client = start(load, wait=False)
    assert client.get("/v2").status_code == 200
    assert client.get("/v2/health/live").status_code == 200
    for path in ("/v2/health/ready", "/v2/models/colours/ready", "/v2/models/colours"):
        answer = client.get(path)
        assert answer.status_code == 503
        assert answer.headers["retry-after"] == "1"
        assert answer.json() == {"error": "The model is being loaded; try again in a moment."}
    refused(client, *request(plain(RED)), status=503)
    release.set()
    while client.get("/v2/health/ready").status_code != 200:
        time.sleep(0.01)
    post(client, *request(plain(RED)))


def test_not_ready_while_the_server_stops(client):
    client.app.state.backend.draining = True
    for path in ("/v2/health/ready", "/v2/models/colours/ready"):
        assert client.get(path).status_code == 503
    assert client.get("/v2/health/live").status_code == 200
    post(client, *request(plain(RED)))


@pytest.fixture
def held(load_colours):
    """A model that waits for its release; gives ``(load, started, release)``."""
    started, release = threading.Event(), threading.Event()

    def load():
        classifier = load_colours()
        run = classifier.run
        classifier.warm_up(range(1, 5))
        classifier.warm_up = lambda _: None

        def waiting(batch):
            started.set()
            release.wait(60)
            return run(batch)

        classifier.run = waiting
        return classifier

    return load, started, release


def test_images_over_the_limit_are_refused_as_busy(start, held):
    load, started, release = held
    client = start(load, max_in_flight=3)
    answers = []
    two = request(plain(RED, BLUE))
    thread = threading.Thread(target=lambda: answers.append(post(client, *two)))
    thread.start()
    assert started.wait(60)
    body, headers = two
    answer = client.post(INFER, content=body, headers=headers)
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "1"
    assert answer.json() == {"error": "2 of 3 images are at work; try again."}
    release.set()
    thread.join()
    assert answers[0][1]["probabilities"].argmax(axis=1).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("deadline_ms", "timeout_us", "message"),
    [(600_000, 50_000, "50 ms"), (50, 600_000_000, "50 ms"), (50, 0, "50 ms")],
)
def test_a_request_ends_at_the_shorter_deadline(start, held, deadline_ms, timeout_us, message):
    load, _, release = held
    client = start(load, deadline_ms=deadline_ms)
    try:
        body, headers = request(plain(RED), parameters={"timeout": timeout_us})
        error = refused(client, body, headers, status=504)
        assert error == f"No answer within {message}; try again later."
    finally:
        release.set()


def test_one_bad_image_ends_the_others(start, held, make_photograph):
    """The other images are not inferred, and their places are free again at once."""
    load, _, release = held
    client = start(load, max_in_flight=2)
    try:
        error = refused(client, *files(make_photograph(), b"not an image"), status=415)
        assert error.startswith("Image 2 of 2: Not a supported image file")
        assert "warpguard_in_flight_images 0.0" in client.get("/metrics").text
    finally:
        release.set()


def test_requests_are_counted_by_route(client):
    post(client, *request(plain(RED, BLUE), parameters={"draws": 2}))
    refused(client, b"{}")
    for path in ("/v2/models/a", "/v2/models/b"):
        client.get(path)
    text = client.get("/metrics").text
    for line in (
        'warpguard_requests_total{route="/v2/models/{model}/infer",status="200"} 1.0',
        'warpguard_requests_total{route="/v2/models/{model}/infer",status="422"} 1.0',
        'warpguard_requests_total{route="/v2/models/{model}",status="404"} 2.0',
        'warpguard_images_total{defense="fd+rdg"} 4.0',
    ):
        assert line in text, line
