"""Each answer is checked, and whatever is wrong with it is an EndpointError."""

import json
import struct

import httpx2
import numpy as np
import pytest

from harness.errors import EndpointError

IMAGE = np.zeros((8, 8, 3), np.uint8)
FOUR = (0.1, 0.2, 0.3, 0.4)


def v1(*predictions):
    return httpx2.Response(200, json={"predictions": predictions})


def ranked(*values):
    return v1(*({"index": i, "probability": p} for i, p in enumerate(values)))


def index(fake, value):
    return fake.binary(("index", "INT64", [1], struct.pack("<q", value)))


def test_valid_answers_are_read(fake):
    fake.answer = lambda _: fake.probabilities(*FOUR)
    np.testing.assert_allclose(fake.target().probabilities([IMAGE]), [FOUR], rtol=1e-6)
    fake.answer = lambda _: ranked(*FOUR)
    np.testing.assert_allclose(fake.target(protocol="v1").probabilities([IMAGE]), [FOUR], rtol=1e-6)


def test_the_class_is_found_behind_other_outputs(fake):
    label = ("label", "BYTES", [1], b"\x03\x00\x00\x00dog")
    fake.outputs = ("label", "index")
    fake.answer = lambda _: fake.binary(label, ("index", "INT64", [1], struct.pack("<q", 3)))
    assert fake.target().classes([IMAGE]).tolist() == [3]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ((np.nan,) * 4, "not finite"),
        ((np.inf, 0, 0, 0), "not finite"),
        ((0.5, 0.5), r"shape \[1, 2\].*shape \[1, 4\]"),
        ((), r"shape \[1, 0\].*shape \[1, 4\]"),
        ((-0.5, 0.5, 0.5, 0.5), "from -0.5 to 0.5"),
        ((7, 0, 0, 0), "from 0 to 7"),
    ],
)
def test_wrong_probabilities_are_refused(fake, either, values, message):
    fake.answer = lambda _: fake.probabilities(*values)
    for method in (either.classes, either.probabilities):
        with pytest.raises(EndpointError, match=f"answer that is not valid: .*{message}"):
            method([IMAGE])


@pytest.mark.parametrize("value", [-7, -1, 4, 10**15])
def test_a_class_that_the_model_does_not_have_is_refused(fake, value):
    fake.outputs = ("label", "index")
    fake.answer = lambda _: index(fake, value)
    with pytest.raises(EndpointError, match=f"the class {value}, but the model has classes 0 to 3"):
        fake.target().classes([IMAGE])
    fake.answer = lambda _: v1({"index": value})
    with pytest.raises(EndpointError, match="answer that is not valid"):
        fake.target(protocol="v1").classes([IMAGE])


@pytest.mark.parametrize(
    "answer",
    [
        v1(),
        v1({"label": "dog"}),
        v1({"index": "1"}),
        v1({"index": 1.5}),
        ranked(0.5, 0.5),
        ranked(*FOUR, 0.0),
        ranked(0.1, 0.2, 0.3, 1.5),
        v1(*({"index": 0, "probability": 0.25} for _ in range(4))),
        v1(*({"index": i, "probability": 0.25 if i else None} for i in (1, 2, 3, 0))),
        httpx2.Response(200, content=b'{"predictions":[{"index":0,"probability":NaN}]}'),
        httpx2.Response(200, content=b"[" * 200_000),
        httpx2.Response(200, content=b'{"a":' + b"[" * 200_000),
        httpx2.Response(200, html="<html><body>Please log in.</body></html>"),
        httpx2.Response(200, content=b""),
        httpx2.Response(200, json=[1]),
        httpx2.Response(200, json=None),
    ],
)
def test_documents_that_are_not_valid_are_refused(fake, answer):
    fake.answer = lambda _: answer
    with pytest.raises(EndpointError, match="sent an answer that is not valid"):
        fake.target(protocol="v1").probabilities([IMAGE])


def head(document, length=None, raw=b"\0" * 16):
    text = json.dumps(document).encode()
    length = str(len(text)) if length is None else length
    headers = {"Inference-Header-Content-Length": length} if length else {}
    return httpx2.Response(200, content=text + raw, headers=headers)


def output(**changes):
    whole = {
        "name": "probabilities",
        "datatype": "FP32",
        "shape": [1, 4],
        "parameters": {"binary_data_size": 16},
    }
    return {"outputs": [whole | changes]}


@pytest.mark.parametrize(
    "answer",
    [
        head(output(), length=""),
        head(output(), length="nonsense"),
        head(output(), length="-1"),
        head(output(), length="0x10"),
        head(output(), length="9" * 30),
        head(output(), length="999999"),
        head({}),
        head({"outputs": 3}),
        head({"outputs": []}),
        head(output(name="other")),
        head(output(datatype="FP64")),
        head(output(shape=[4])),
        head(output(shape=[1, -4])),
        head(output(shape=[1, 0])),
        head(output(shape=[2**40, 4])),
        head(output(parameters={})),
        head(output(parameters={"binary_data_size": 8})),
        head(output(parameters={"binary_data_size": -16})),
        head(output(parameters={"binary_data_size": 2**60})),
        head(output(), raw=b"\0" * 8),
        head(output(), raw=b""),
    ],
)
def test_tensors_that_are_not_valid_are_refused(fake, either, answer):
    fake.answer = lambda _: answer
    with pytest.raises(EndpointError, match="sent an answer that is not valid"):
        either.probabilities([IMAGE])
    with pytest.raises(EndpointError):
        fake.oip()  # which posts an image to learn the outputs


def test_a_server_that_returns_one_class_is_named(fake):
    fake.answer = lambda _: v1({"index": 1, "probability": 0.9})
    with pytest.raises(EndpointError, match=r"only the most probable class.*--response-detail"):
        fake.target(protocol="v1").probabilities([IMAGE])
