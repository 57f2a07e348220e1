"""The tensors of an answer in JSON; test_answers.py has those in bytes."""

import json

import numpy as np
import pytest

from harness.endpoint.tensors import are_probabilities, scores, softmax, tensors
from harness.endpoint.transport import Answer
from harness.errors import EndpointError


def answer(text, **headers):
    return Answer("http://endpoint/infer", headers, text.encode())


def output(data, **changes):
    whole = {"name": "o", "datatype": "FP32", "shape": [1, 4], "data": data}
    return answer(json.dumps({"outputs": [whole | changes]}))


@pytest.mark.parametrize("data", [[0, 1, 2.5, 3], [[0, 1, 2.5, 3]], [[[0], [1]], [[2.5], [3]]]])
@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64"])
def test_numbers_are_read_however_they_are_nested(data, datatype):
    np.testing.assert_array_equal(
        scores(output(data, datatype=datatype), "o", [1, 4]), [0, 1, 2.5, 3]
    )


@pytest.mark.parametrize(
    "data",
    [
        [0, 1, 2],
        [0, 1, 2, 3, 4],
        [],
        None,
        ["0", "1", "2", "3"],
        [True, False, True, False],
        [None, 1, 2, 3],
        [{}, 1, 2, 3],
        [10**400, 1, 2, 3],
        [1e39, 1, 2, 3],
        [float("nan"), 1, 2, 3],
        [float("-inf"), 1, 2, 3],
        {"0": 1},
        "0123",
    ],
)
def test_other_data_are_refused(data):
    with pytest.raises(EndpointError, match="sent an answer that is not valid"):
        scores(output(data), "o", [1, 4])


@pytest.mark.parametrize("data", [[1.5], [2**70], ["1"], [None]])
def test_integers_are_integers(data):
    with pytest.raises(EndpointError, match="sent an answer that is not valid"):
        tensors(output(data, datatype="INT64", shape=[1]))


@pytest.mark.parametrize(
    "text",
    [
        '{"outputs":[{"name":"o","datatype":"FP32","shape":[1,4],"data":' + "[" * 200_000,
        '{"outputs":[{"name":"o","datatype":"FP32","shape":[1,4],"data":'
        + "[" * 5000
        + "]" * 5000
        + "}]}",
        '{"outputs":[' + "{}," * 9999 + "{}]}",
    ],
)
def test_deep_and_empty_documents_are_refused(text):
    with pytest.raises(EndpointError, match="sent an answer that is not valid"):
        tensors(answer(text))


def test_shapes_are_not_built_before_their_size_is_known():
    shape = [2**31 - 1] * 15
    with pytest.raises(EndpointError, match="in 1 values"):
        tensors(output([1.0], shape=shape))
    (found,) = tensors(output([], shape=[*shape, 0]))
    assert found.values.size == 0


def test_outputs_of_other_datatypes_are_passed_over():
    (found,) = tensors(output(["dog"], datatype="BYTES", shape=[1]))
    assert (found.name, found.values) == ("o", None)
    with pytest.raises(EndpointError, match="o as BYTES of shape"):
        scores(output(["dog"], datatype="BYTES", shape=[1]), "o", [1])


def test_logits_become_probabilities_without_overflow():
    largest = float(np.finfo(np.float32).max)
    row = softmax(np.array([largest, largest, -largest, 0], np.float32))
    np.testing.assert_array_equal(row, [0.5, 0.5, 0, 0])
    np.testing.assert_allclose(softmax(np.log(np.array([1, 3], np.float32))), [0.25, 0.75])


@pytest.mark.parametrize(
    ("row", "are"),
    [
        ([0.25, 0.75], True),
        ([0.25, 0.755], True),  # half precision
        ([0.25, 0.7], False),
        ([-0.25, 1.25], False),
        ([0, 0], False),
    ],
)
def test_probabilities_are_recognised(row, are):
    assert are_probabilities(np.array(row, np.float32)) is are
