"""How much an answer reveals, in both APIs."""

import json

import numpy as np
import pytest
from pydantic import ValidationError

from service.settings import Settings

PREDICT = "/v1/predict"
MODEL = "/v2/models/colours"
INFER = f"{MODEL}/infer"
IMAGE_ALONE = {"inference-header-content-length": "0"}
CONTEXT = {"model", "precision", "defense", "draws", "request_id"}
FULL = ("probabilities", "logits", "agreement", "defended")


def infer(client, body, *outputs, classes=0, binary=False):
    """Send an image over the Open Inference Protocol, as binary data."""
    parameters = {"classification": classes} if classes else {}
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1]}
    size = {"binary_data_size": 4 + len(body)}
    request = {"inputs": [tensor | {"parameters": size}]}
    if outputs:
        request["outputs"] = [{"name": name, "parameters": parameters} for name in outputs]
    if binary:
        request["parameters"] = {"binary_data_output": True}
    text = json.dumps(request).encode()
    headers = {"inference-header-content-length": str(len(text))}
    image = len(body).to_bytes(4, "little") + body
    return client.post(INFER, content=text + image, headers=headers)


def numbers(value):
    """Every number of a JSON document."""
    if isinstance(value, dict):
        return [found for each in value.values() for found in numbers(each)]
    if isinstance(value, list):
        return [found for each in value for found in numbers(each)]
    return [] if isinstance(value, str | bool | None) else [value]


@pytest.mark.parametrize("query", ["", "?top_k=3&draws=4", "?defense=rand&top_k=1"])
def test_label_reveals_the_most_probable_class_and_no_number(start, make_photograph, query):
    client = start(response_detail="label")
    answer = client.post(f"{PREDICT}{query}", content=make_photograph("green"))
    body = answer.json()
    assert set(body) == CONTEXT | {"predictions"}
    assert body["predictions"] == [{"index": 1, "label": "green"}]
    assert numbers(body) == [body["draws"], 1]


def test_top1_reveals_its_probability_too(start, make_photograph):
    client = start(response_detail="top1")
    body = client.post(f"{PREDICT}?top_k=3", content=make_photograph("green")).json()
    assert set(body) == CONTEXT | {"predictions"}
    (only,) = body["predictions"]
    assert set(only) == {"index", "label", "probability"}
    assert only["label"] == "green"
    assert 0.95 < only["probability"] < 1


@pytest.mark.parametrize(
    ("detail", "revealed"),
    [("label", {"index", "label"}), ("top1", {"index", "label", "probability"})],
)
def test_the_answers_to_a_form_reveal_no_more(start, make_photograph, detail, revealed):
    client = start(response_detail=detail)
    files = [("files", ("a.png", make_photograph("blue"))), ("files", ("b.txt", b"not an image"))]
    good, bad = client.post(PREDICT, files=files).json()["results"]
    assert set(good["prediction"]) == {"predictions"}
    assert set(good["prediction"]["predictions"][0]) == revealed
    assert good["error"] is None
    assert bad["error"]["code"] == "unsupported_media"


@pytest.mark.parametrize(
    ("detail", "names"),
    [("label", ["label", "index"]), ("top1", ["label", "index", "probability"])],
)
def test_the_open_inference_protocol_has_other_outputs(start, make_photograph, detail, names):
    client = start(response_detail=detail)
    body = make_photograph("blue")
    assert [output["name"] for output in client.get(MODEL).json()["outputs"]] == names
    answer = infer(client, body, *names)
    outputs = {output["name"]: output for output in answer.json()["outputs"]}
    assert outputs["label"]["data"] == ["blue"]
    assert (outputs["index"]["data"], outputs["index"]["datatype"]) == ([2], "INT64")
    assert set(outputs) == set(names)
    if detail == "top1":
        assert 0.95 < outputs["probability"]["data"][0] < 1
    (only,) = infer(client, body).json()["outputs"]
    assert only == {"name": "label", "datatype": "BYTES", "shape": [1], "data": ["blue"]}


@pytest.mark.parametrize(
    ("detail", "output"),
    [
        *((each, name) for each in ("label", "top1") for name in FULL),
        ("label", "probability"),
    ],
)
def test_outputs_that_would_reveal_more_are_refused_by_name(start, make_photograph, detail, output):
    client = start(response_detail=detail)
    answer = infer(client, make_photograph(), output)
    assert answer.status_code == 422
    assert answer.json()["error"].startswith(f"Unknown output '{output}'. Outputs: label, index")


def test_a_classification_does_not_reveal_the_scores(start, make_photograph):
    client = start(response_detail="label")
    for output in ("label", "index"):
        answer = infer(client, make_photograph(), output, classes=3)
        assert answer.status_code == 422
        assert "classification" in answer.json()["error"]


def test_binary_outputs_reveal_no_more(start, make_photograph):
    client = start(response_detail="label")
    answer = infer(client, make_photograph("blue"), "label", "index", binary=True)
    split = int(answer.headers["inference-header-content-length"])
    assert answer.content[split:] == b"\4\0\0\0blue" + (2).to_bytes(8, "little")
    alone = client.post(INFER, content=make_photograph("blue"), headers=IMAGE_ALONE)
    assert alone.content.endswith(b"\4\0\0\0blue")


@pytest.mark.parametrize("options", [{"response_detail": "label"}, {"response_detail": "top1"}])
def test_less_than_the_full_detail_shows_no_defended_image(start, make_photograph, options):
    client = start(defend_endpoint=True, **options)
    answer = client.post("/v1/defend", content=make_photograph())
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found")
    assert "/v1/defend" not in client.get("/openapi.json").json()["paths"]


def test_defended_images_alone_can_be_hidden(start, make_photograph):
    client = start(defend_endpoint=False)
    assert client.post("/v1/defend", content=make_photograph()).status_code == 404
    assert "agreement" in client.post(PREDICT, content=make_photograph()).json()
    answer = infer(client, make_photograph(), "defended")
    assert answer.status_code == 422
    assert (
        answer.json()["error"]
        == "Unknown output 'defended'. Outputs: probabilities, logits, agreement."
    )


def test_metrics_reveal_no_more_than_answers(start, make_photograph):
    """The metrics before and after a lone request would reveal its agreement."""
    counts = {}
    for detail in ("label", "full"):
        client = start(response_detail=detail)
        client.post(f"{PREDICT}?draws=4", content=make_photograph())
        infer(client, make_photograph(), "label" if detail == "label" else "agreement")
        (line,) = [
            line
            for line in client.get("/metrics").text.splitlines()
            if line.startswith("warpguard_agreement_ratio_count")
        ]
        counts[detail] = float(line.split()[1])
    assert counts == {"label": 0, "full": 1}


def test_transformer_mode_cannot_reveal_less():
    with pytest.raises(ValidationError, match="--response-detail"):
        Settings(predictor_host="host", model_name="m", response_detail="label")


@pytest.fixture
def divided(load_colours):
    """A model that calls the first quarter of a batch blue, and the rest red: agreement 0.75."""

    def load():
        classifier = load_colours()
        classifier.run = lambda batch: np.array(
            [[0, 0, 1] if i < len(batch) // 4 else [9, 0, 0] for i in range(len(batch))], np.float32
        )
        return classifier

    return load


def unsure_of_all(client, body, draws=4):
    """What each kind of answer says, and the agreement."""
    query = f"{PREDICT}?draws={draws}"
    one = client.post(query, content=body).json()
    form = client.post(query, files=[("files", ("a", body)), ("files", ("b", b"junk"))]).json()
    tensor = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3], "data": [7] * 3072}
    request = {"inputs": [tensor], "outputs": [{"name": "agreement"}, {"name": "unsure"}]}
    infer = client.post(INFER, json=request | {"parameters": {"draws": draws}}).json()
    agreement, unsure = infer["outputs"]
    assert (unsure["datatype"], unsure["shape"]) == ("BOOL", [1])
    file, junk = form["results"]
    assert junk["prediction"] is None
    answers = [one["unsure"], file["prediction"]["unsure"], unsure["data"][0]]
    return {(type(each), each) for each in answers}, agreement["data"][0]


@pytest.mark.parametrize(
    ("least", "draws", "unsure"),
    [
        (0.76, 4, True),
        (1.0, 4, True),
        (0.75, 4, False),
        (0.0, 4, False),
        (1.0, 1, False),
    ],
)
def test_answers_below_the_least_agreement_are_unsure(
    start, divided, make_photograph, least, draws, unsure
):
    client = start(divided, min_agreement=least)
    found, agreement = unsure_of_all(client, make_photograph(), draws)
    assert found == {(bool, unsure)}
    assert agreement == (0.75 if draws == 4 else 1.0)
    assert f"warpguard_unsure_answers_total {3.0 * unsure}" in client.get("/metrics").text


def test_unsure_may_be_binary(start, divided, make_photograph):
    client = start(divided, min_agreement=0.76)
    answer = infer(client, make_photograph(), "unsure", binary=True)
    assert answer.content.endswith(b"\x00")
    outputs = client.get(MODEL).json()["outputs"]
    assert {"name": "unsure", "datatype": "BOOL", "shape": [-1]} in outputs


def test_without_a_least_agreement_no_answer_has_unsure(start, divided, make_photograph):
    client = start(divided)
    body = make_photograph()
    assert "unsure" not in client.post(f"{PREDICT}?draws=4", content=body).text
    assert "unsure" not in client.post(f"{PREDICT}?draws=4", files=[("files", body)]).text
    assert "Unknown output 'unsure'" in infer(client, body, "unsure").json()["error"]
    assert "warpguard_unsure_answers_total 0.0" in client.get("/metrics").text
    schema = client.get("/openapi.json").json()["components"]["schemas"]["PredictAnswer"]
    assert "unsure" in schema["properties"]
    assert "unsure" not in schema["required"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"response_detail": "top1"}, "needs --response-detail full"),
        ({"predictor_host": "host", "model_name": "m"}, "needs the model in this server"),
    ],
)
def test_a_least_agreement_needs_answers_with_agreement(settings, message):
    with pytest.raises(ValidationError, match=message):
        Settings(min_agreement=0.5, **settings)


def test_the_operator_chooses_the_draws_of_a_request_that_names_none(start, make_photograph):
    client = start(draws=3)
    assert client.post(PREDICT, content=make_photograph()).json()["draws"] == 3
    assert client.post(f"{PREDICT}?draws=1", content=make_photograph()).json()["draws"] == 1
    headers = {"inference-header-content-length": "0"}
    answer = client.post("/v2/models/colours/infer", content=make_photograph(), headers=headers)
    assert b'"draws":3' in answer.content
