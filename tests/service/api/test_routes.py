"""The project's own HTTP API, with the classifier of colours."""

import threading
import time
from io import BytesIO

import numpy as np
import pytest
from onnx import TensorProto, helper
from PIL import Image

import service.errors
from defenses import Pipeline
from service.errors import ServiceError
from service.predictor import Predictor

PREDICT = "/v1/predict"


def code(answer):
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"error"}
    error = answer.json()["error"]
    assert set(error) == {"code", "message", "help"}
    assert error["help"] == f"docs/troubleshooting.md#{error['code']}"
    assert answer.headers["x-warpguard-help"] == error["help"]
    return error["code"]


def pixels(answer):
    assert answer.status_code == 200, answer.text
    return np.asarray(Image.open(BytesIO(answer.content)))


@pytest.mark.parametrize("colour", ["red", "green", "blue"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
def test_the_body_is_an_image_file(client, make_photograph, colour, kind):
    answer = client.post(PREDICT, content=make_photograph(colour, kind=kind))
    assert answer.status_code == 200
    body = answer.json()
    assert body["model"] == "colours"
    assert body["defense"] == "fd+rdg"
    assert body["draws"] == 1
    assert body["agreement"] == 1.0
    assert body["predictions"][0]["label"] == colour
    assert body["predictions"][0]["index"] == ["red", "green", "blue"].index(colour)
    probabilities = [entry["probability"] for entry in body["predictions"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert probabilities[0] > 0.95
    assert sum(probabilities) == pytest.approx(1, abs=1e-5)
    stages = {"decode", "defend", "preprocess", "queue", "infer", "total"}
    assert set(body["timings_ms"]) == stages
    assert all(value >= 0 for value in body["timings_ms"].values())
    assert body["request_id"] == answer.headers["x-request-id"]


def test_draws_are_averaged(client, make_photograph):
    body = client.post(f"{PREDICT}?draws=16&top_k=2", content=make_photograph()).json()
    assert body["draws"] == 16
    assert len(body["predictions"]) == 2
    assert body["agreement"] == 1.0


def test_agreement_is_the_share_of_draws_with_the_answer_s_class(start, load_colours):
    """The model calls the first quarter of a batch blue, and the rest red with more certainty."""

    def load():
        classifier = load_colours()
        classifier.run = lambda batch: np.array(
            [[0, 0, 1] if i < len(batch) // 4 else [9, 0, 0] for i in range(len(batch))], np.float32
        )
        return classifier

    buffer = BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")
    client = start(load)
    body = client.post(f"{PREDICT}?draws=8", content=buffer.getvalue()).json()
    assert body["predictions"][0]["label"] == "red"
    assert body["agreement"] == 0.75


def test_a_form_of_files_is_answered_file_by_file(client, make_photograph):
    files = [
        ("files", ("a.png", make_photograph("green"))),
        ("files", ("b.txt", b"not an image")),
        ("files", ("c.jpg", make_photograph("blue", kind="JPEG"))),
        ("files", ("c.jpg", make_photograph("red")[:200])),
    ]
    answer = client.post(f"{PREDICT}?defense=none&draws=2", files=files)
    assert answer.status_code == 200
    body = answer.json()
    assert (body["model"], body["defense"], body["draws"]) == ("colours", "none", 2)
    assert [result["file"] for result in body["results"]] == ["a.png", "b.txt", "c.jpg", "c.jpg"]
    good, bad, better, cut = body["results"]
    assert good["prediction"]["predictions"][0]["label"] == "green"
    assert better["prediction"]["predictions"][0]["label"] == "blue"
    assert bad["error"]["code"] == "unsupported_media"
    assert cut["error"]["code"] == "bad_image"
    assert good["error"] is None
    assert bad["prediction"] is None


def test_forms_have_their_limits(start, make_photograph):
    client = start(max_images=2, max_in_flight=8)
    one = ("files", ("a.png", make_photograph()))
    assert client.post(PREDICT, files=[one] * 2).status_code == 200
    assert code(client.post(PREDICT, files=[one] * 3)) == "too_many_images"
    answer = client.post(f"{PREDICT}?draws=5", files=[one] * 2)
    assert answer.status_code == 413
    assert "10 images" in answer.json()["error"]["message"]
    answer = client.post(PREDICT, files=[("picture", ("a.png", b"x"))])
    assert (answer.status_code, code(answer)) == (422, "invalid_parameter")
    assert "'files'" in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", [PREDICT, "/v1/defend"])
def test_a_form_without_its_end_is_refused_as_a_whole(client, make_photograph, route):
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    form = head + make_photograph() + b"\r\n"
    headers = {"content-type": "multipart/form-data; boundary=x"}
    for content in (form, form + form[:-100], form + form):
        answer = client.post(route, content=content, headers=headers)
        assert (answer.status_code, code(answer)) == (400, "bad_request")
        assert "cut short" in answer.json()["error"]["message"]
    assert client.post(route, content=form + b"--x--", headers=headers).status_code == 200


def test_a_defence_that_the_operator_does_not_allow_is_refused_by_name(client, make_photograph):
    for asked in ("rdg", "fd*3+rdg", "nonsense", "fd(step=1)", ""):
        answer = client.post(PREDICT, params={"defense": asked}, content=make_photograph())
        assert (answer.status_code, code(answer)) == (422, "unknown_defense")
        assert "fd+rdg, none, fd, rand" in answer.json()["error"]["message"]


@pytest.mark.parametrize("route", [PREDICT, "/v1/defend"])
def test_a_refused_none_says_how_an_operator_allows_it(start, make_photograph, route):
    answer = start(allow_defense="fd").post(f"{route}?defense=none", content=make_photograph())
    assert answer.status_code == 422
    assert answer.json()["error"]["message"] == (
        "The defence none is not allowed. Allowed on this server: fd+rdg, fd. "
        "Its operator can allow more with --allow-defense none."
    )


@pytest.mark.parametrize("route", [PREDICT, "/v1/defend"])
@pytest.mark.parametrize(
    "asked", ["onnx(file=/etc/passwd)", "quilt(bank=/etc/passwd)", "fd+onnx(file=%s)", "onnx"]
)
def test_a_client_can_name_no_file(client, make_photograph, tmp_path, monkeypatch, asked, route):
    """A defence that was not allowed at the start is not parsed, so its file is not opened."""
    touched = []
    monkeypatch.setattr("defenses.from_file.Path", touched.append)
    monkeypatch.setattr(Pipeline, "parse", touched.append)
    named = asked.replace("%s", str(tmp_path / "network.onnx"))
    answer = client.post(route, params={"defense": named}, content=make_photograph())
    assert (answer.status_code, code(answer)) == (422, "unknown_defense")
    assert "passwd" not in answer.text
    assert touched == []


def test_a_defence_from_a_file_is_named_as_the_operator_wrote_it(start, make_photograph, tmp_path):
    written = f"onnx(file={tmp_path / 'same.onnx'})"
    (tmp_path / "same.onnx").write_bytes(identity_graph())
    client = start(defense="none", allow_defense=(written,))
    answer = client.post(PREDICT, params={"defense": written}, content=make_photograph())
    assert answer.json()["defense"] == written
    shown = client.post("/v1/defend", params={"defense": written}, content=make_photograph())
    assert shown.headers["x-warpguard-defense"] == written
    assert [each["name"] for each in client.get("/v1/defenses").json()["defenses"]] == [
        "none",
        written,
    ]
    assert f'defense="{written}"' in client.get("/metrics").text


def identity_graph():
    sides = [1, 3, "h", "w"]
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "identity",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, sides)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, sides)],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return model.SerializeToString()


@pytest.mark.parametrize("query", ["defense=fd+rdg", "defense=fd%2Brdg", ""])
def test_an_unescaped_plus_is_understood(client, make_photograph, query):
    answer = client.post(f"{PREDICT}?{query}", content=make_photograph())
    assert answer.json()["defense"] == "fd+rdg"


@pytest.mark.parametrize(
    "query", ["draws=0", "draws=17", "draws=x", "top_k=0", "top_k=1001", "defense=" + "x" * 201]
)
def test_parameters_out_of_range_are_refused_by_name(client, make_photograph, query):
    answer = client.post(f"{PREDICT}?{query}", content=make_photograph())
    assert (answer.status_code, code(answer)) == (422, "invalid_parameter")
    assert query.partition("=")[0] in answer.json()["error"]["message"]


def test_two_equal_requests_are_defended_differently(client, make_photograph):
    body = make_photograph(noise=40, size=(120, 160))
    answers = [client.post(PREDICT, content=body).json() for _ in range(4)]
    assert len({answer["predictions"][0]["probability"] for answer in answers}) > 1
    first, second = (pixels(client.post("/v1/defend", content=body)) for _ in range(2))
    assert not np.array_equal(first, second)


def test_no_parameter_sets_the_draw(client, make_photograph):
    schema = client.get("/openapi.json").json()
    names = {
        parameter["name"]
        for methods in schema["paths"].values()
        for operation in methods.values()
        for parameter in operation.get("parameters", [])
        if parameter["in"] != "path"
    }
    assert names == {"defense", "draws", "top_k", "timeout_ms"}
    body = make_photograph(noise=40, size=(120, 160))
    for attempt in ("seed=1", "random_state=1", "rng=1", "params={}", "draw=0"):
        assert client.post(f"/v1/defend?{attempt}", content=body).status_code == 422
    headers = {"x-seed": "1", "x-request-id": "the-same"}
    answers = [pixels(client.post("/v1/defend", content=body, headers=headers)) for _ in range(2)]
    assert not np.array_equal(*answers)


@pytest.mark.parametrize("size", [(40, 48), (9, 101), (301, 299)])
def test_the_defended_image_has_its_own_size(client, make_photograph, size):
    body = make_photograph(size=size)
    answer = client.post("/v1/defend", content=body)
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["x-warpguard-defense"] == "fd+rdg"
    assert pixels(answer).shape == (*size, 3)
    original = np.asarray(Image.open(BytesIO(body)))
    np.testing.assert_array_equal(
        pixels(client.post("/v1/defend?defense=none", content=body)), original
    )
    form = {"files": ("a.png", body)}
    assert pixels(client.post("/v1/defend", files=form)).shape == (*size, 3)
    two = [("files", ("a.png", body))] * 2
    assert code(client.post("/v1/defend", files=two)) == "invalid_parameter"


@pytest.mark.parametrize("route", [PREDICT, "/v1/defend"])
def test_a_body_that_cannot_be_decoded_is_refused_with_the_reason(start, make_photograph, route):
    client = start(max_pixels=10_000, max_body_bytes=200_000)
    cases = {
        (400, "bad_request"): b"",
        (400, "bad_image"): make_photograph()[:300],
        (413, "too_many_pixels"): make_photograph(size=(101, 100)),
        (413, "body_too_large"): b"\xff" * 200_001,
        (415, "unsupported_media"): b'{"image": "base64"}',
        (422, "image_too_small"): make_photograph(size=(7, 100)),
    }
    for (status, word), body in cases.items():
        answer = client.post(route, content=body)
        assert (answer.status_code, code(answer)) == (status, word)


def test_a_body_without_a_declared_length_is_limited_too(start):
    client = start(max_body_bytes=10_000)
    sent = []

    def endless():
        for _ in range(1000):
            sent.append(1)
            yield b"\xff" * 1000

    answer = client.post(PREDICT, content=endless())
    assert (answer.status_code, code(answer)) == (413, "body_too_large")


def test_an_image_too_small_for_a_defence_s_parameters(start, make_photograph):
    client = start(allow_defense="rdg(cell=20)")
    answer = client.post("/v1/defend?defense=rdg(cell=20)", content=make_photograph(size=(16, 16)))
    assert (answer.status_code, code(answer)) == (422, "invalid_parameter")
    assert "cell is 20 px" in answer.json()["error"]["message"]


def test_a_model_whose_input_is_too_small_for_a_defence_is_not_served(start):
    app = start(wait=False, defense="rdg(cell=33)").app
    give_up = time.monotonic() + 60
    while (failure := app.state.backend.failure) is None and time.monotonic() < give_up:
        time.sleep(0.01)
    assert "cell is 33 px" in str(failure)


def test_unknown_paths_and_methods_have_the_same_form(client):
    assert code(client.get("/v1/nothing")) == "not_found"
    wrong = client.get(PREDICT)
    assert code(wrong) == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


def test_a_request_id_of_harmless_characters_is_kept(client):
    for given, kept in (("abc-123", True), ("a" * 129, False), ("new\tline", False), ("ü", False)):
        answer = client.get("/healthz", headers={"x-request-id": given.encode()})
        assert (answer.headers["x-request-id"] == given) is kept
        assert answer.headers["x-request-id"]


def test_not_ready_until_the_model_is_warm(start, load_colours, make_photograph):
    release = threading.Event()

    def load():
        release.wait(60)
        return load_colours()

    client = start(load, wait=False)
    assert client.get("/healthz").json() == {"status": "ok"}
    for answer in (
        client.get("/readyz"),
        client.get("/v1/models"),
        client.post(PREDICT, content=make_photograph()),
    ):
        assert (answer.status_code, code(answer)) == (503, "not_ready")
        assert answer.headers["retry-after"] == "1"
    assert "warpguard_ready 0.0" in client.get("/metrics").text
    release.set()
    while client.get("/readyz").status_code != 200:
        time.sleep(0.01)
    assert client.get("/readyz").json() == {"status": "ready"}
    assert client.post(PREDICT, content=make_photograph()).status_code == 200
    assert "warpguard_ready 1.0" in client.get("/metrics").text


def held(load_colours, started, release):
    """A load of a model whose batches wait until they are released."""

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

    return load


def test_images_over_the_limit_are_refused_as_busy(start, load_colours, make_photograph):
    started, release = threading.Event(), threading.Event()
    client = start(held(load_colours, started, release), max_in_flight=3)
    answers = []
    thread = threading.Thread(
        target=lambda: answers.append(client.post(f"{PREDICT}?draws=2", content=make_photograph()))
    )
    thread.start()
    assert started.wait(60)
    busy = client.post(f"{PREDICT}?draws=2", content=make_photograph())
    assert (busy.status_code, code(busy)) == (429, "busy")
    assert busy.headers["retry-after"] == "1"
    assert "warpguard_in_flight_images 2.0" in client.get("/metrics").text
    release.set()
    thread.join()
    assert answers[0].status_code == 200
    assert client.post(f"{PREDICT}?draws=3", content=make_photograph()).status_code == 200
    assert "warpguard_in_flight_images 0.0" in client.get("/metrics").text


@pytest.mark.parametrize(
    ("deadline_ms", "query"),
    [(200, ""), (200, "?timeout_ms=600000"), (600_000, "?timeout_ms=200")],
    ids=["the server's", "the server's is shorter", "the client's is shorter"],
)
def test_a_request_ends_at_the_shorter_deadline(
    start, load_colours, make_photograph, deadline_ms, query
):
    started, release = threading.Event(), threading.Event()
    client = start(held(load_colours, started, release), deadline_ms=deadline_ms)
    answer = client.post(f"{PREDICT}{query}", content=make_photograph())
    assert (answer.status_code, code(answer)) == (504, "deadline_exceeded")
    assert "No answer within 200 ms" in answer.json()["error"]["message"]
    assert "warpguard_in_flight_images 0.0" in client.get("/metrics").text
    release.set()
    if deadline_ms > 200:
        assert client.post(PREDICT, content=make_photograph()).status_code == 200


def test_the_answer_to_a_model_s_failure_has_no_detail_of_it(start, load_colours, make_photograph):
    def load():
        classifier = load_colours()

        def fail(batch):
            raise RuntimeError("/secret/path")

        classifier.run = fail
        classifier.warm_up = lambda _: None
        return classifier

    answer = start(load).post(PREDICT, content=make_photograph())
    assert (answer.status_code, code(answer)) == (503, "inference_failed")
    assert "secret" not in answer.text


def test_defended_images_are_kept_only_for_an_answer_that_needs_them(
    client, make_photograph, monkeypatch
):
    kept = []
    predict = Predictor.predict

    async def recorded(self, *arguments, **options):
        classification = await predict(self, *arguments, **options)
        kept.append(len(classification.defended))
        return classification

    monkeypatch.setattr(Predictor, "predict", recorded)
    body = make_photograph()
    client.post(f"{PREDICT}?draws=4", content=body)
    client.post(f"{PREDICT}?draws=4", files=[("files", ("a.png", body))])
    assert kept == [0, 0]
    tensor = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3], "data": [7] * 3072}
    request = {"inputs": [tensor], "parameters": {"draws": 4}}
    for names, number in ((["probabilities", "agreement"], 0), (["defended", "logits"], 4)):
        outputs = [{"name": name} for name in names]
        answer = client.post("/v2/models/colours/infer", json=request | {"outputs": outputs})
        assert answer.status_code == 200
        assert kept.pop() == number


def test_the_model_and_the_defences_are_listed(client):
    (model,) = client.get("/v1/models").json()["models"]
    assert model["name"] == "colours"
    assert model["provider"] == "CPUExecutionProvider"
    assert model["precision"] == "fp32"
    assert model["classes"] == 3
    assert model["input"]["height_px"] == 32
    body = client.get("/v1/defenses").json()
    assert body["default"] == "fd+rdg"
    assert [entry["name"] for entry in body["defenses"]] == ["fd+rdg", "none", "fd", "rand"]
    assert [entry["random"] for entry in body["defenses"]] == [True, False, False, True]
    assert body["defenses"][0]["operations"][1]["parameters"]["delta"] == 0.15


def test_metrics_count_requests_errors_and_images(client, make_photograph):
    client.post(f"{PREDICT}?draws=4", content=make_photograph())
    client.post("/v1/defend?defense=none", content=make_photograph())
    client.post(PREDICT, content=b"junk")
    client.post(PREDICT, files=[("files", ("a", b"junk"))])
    for path in ("/a", "/b", "/v1/models/c"):
        client.get(path)
    text = client.get("/metrics").text
    for line in (
        'warpguard_requests_total{route="/v1/predict",status="200"} 2.0',
        'warpguard_requests_total{route="/v1/predict",status="415"} 1.0',
        'warpguard_requests_total{route="unmatched",status="404"} 3.0',
        'warpguard_errors_total{code="unsupported_media"} 2.0',
        'warpguard_images_total{defense="fd+rdg"} 4.0',
        'warpguard_images_total{defense="none"} 1.0',
        'warpguard_stage_seconds_count{stage="infer"} 1.0',
        "warpguard_agreement_ratio_count 1.0",
        "warpguard_batch_images_sum 4.0",
        'warpguard_model_info{name="colours",precision="fp32",provider="CPUExecutionProvider"} 1.0',
    ):
        assert line in text, line


def test_every_error_is_in_the_schema(client):
    schema = client.get("/openapi.json").json()
    errors = [
        error
        for error in vars(service.errors).values()
        if isinstance(error, type) and issubclass(error, ServiceError) and error is not ServiceError
    ]
    assert len({error.code for error in errors}) == len(errors)
    for route in (PREDICT, "/v1/defend"):
        responses = schema["paths"][route]["post"]["responses"]
        documented = {int(status) for status in responses} - {200}
        assert (
            documented
            == {error.status for error in errors} - {404, 405, 500, 502}
            == {400, 401, 408, 413, 415, 421, 422, 429, 431, 501, 503, 504}
        )
        for status in documented:
            content = responses[str(status)]["content"]["application/json"]["schema"]
            assert content["$ref"].endswith("/ErrorAnswer")
        accepted = set(schema["paths"][route]["post"]["requestBody"]["content"])
        assert {"image/jpeg", "image/png", "multipart/form-data"} < accepted
