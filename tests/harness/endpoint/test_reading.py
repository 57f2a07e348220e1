"""Which output of an answer has the scores, and whether they are logits."""

import json

import pytest

from harness.endpoint.metadata import ModelMetadata
from harness.endpoint.reading import asked_output, reading_of
from harness.endpoint.transport import Answer
from harness.errors import EndpointError, HiddenProbabilitiesError
from models import GraphOutput, Manifest, Scaling

LOGITS, PROBABILITIES = [-1.0, 2.0, 0.5], [0.2, 0.3, 0.5]


def manifest(name="o", kind="logits", labels=("a", "b", "c")):
    return Manifest(
        name="mine",
        output=GraphOutput(name=name, kind=kind),
        scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)),
        labels=labels,
    )


def answer(*outputs):
    """An answer with outputs, each a name, its values, and maybe another datatype and shape."""
    found = [
        {"name": name, "data": data, "datatype": "FP32", "shape": [1, len(data)]} | dict(*changes)
        for name, data, *changes in outputs
    ]
    return Answer("URL", {}, json.dumps({"outputs": found}).encode())


@pytest.mark.parametrize(
    ("data", "description", "kind"),
    [
        (PROBABILITIES, None, "probabilities"),
        (PROBABILITIES, manifest(kind="probabilities"), "probabilities"),
        (PROBABILITIES, manifest("graph's own name"), "probabilities"),  # the server normalises
        (LOGITS, manifest(), "logits"),
        (LOGITS, manifest("graph's own name"), "logits"),
    ],
)
def test_scores_are_logits_only_if_the_manifest_says_so(data, description, kind):
    reading = reading_of(answer(("o", data)), None, description)
    assert (reading.output, reading.kind, reading.classes) == ("o", kind, 3)
    row = reading.probabilities(answer(("o", data)))
    assert row.sum() == pytest.approx(1)
    assert reading.most_probable(answer(("o", data))) == data.index(max(data))


@pytest.mark.parametrize(
    ("data", "description", "message"),
    [
        (LOGITS, None, r'not probabilities: if they are logits, .*--manifest .*"logits"'),
        (LOGITS, manifest(kind="probabilities"), "with a sum of 1.5 in o, which are not"),
        (PROBABILITIES, manifest(), 'the manifest calls them logits. Set output.kind to "prob'),
        (PROBABILITIES, manifest(labels=("a", "b")), "3 scores, but the manifest has 2 labels"),
        ([1.0], None, r"o of shape \[1, 1\]. One score for each of two classes"),
    ],
)
def test_contradictions_are_refused(data, description, message):
    shape = {"shape": [1, 1]} if len(data) == 1 else {}
    with pytest.raises(EndpointError, match=message):
        reading_of(answer(("o", data, shape)), "o", description)


@pytest.mark.parametrize("shape", [[3], [1, 3], [1, 3, 1, 1]])
def test_scores_may_have_further_dimensions_of_1(shape):
    reading = reading_of(answer(("o", PROBABILITIES, {"shape": shape})), "o", None)
    assert reading.shape == tuple(shape)
    with pytest.raises(EndpointError, match="was expected"):
        reading.probabilities(answer(("o", PROBABILITIES, {"shape": [3, 1]})))


def test_a_grid_of_scores_is_refused():
    with pytest.raises(EndpointError, match=r"of shape \[2, 2\]"):
        reading_of(answer(("o", [0.25] * 4, {"shape": [2, 2]})), "o", None)


def test_later_answers_must_be_probabilities_too():
    reading = reading_of(answer(("o", PROBABILITIES)), None, None)
    with pytest.raises(EndpointError, match=r"not valid: numbers from -1 to 2 .* of o are not p"):
        reading.probabilities(answer(("o", LOGITS)))


FEATURES = ("features", [0.5] * 8)
NUMBER = ("index", [2], {"datatype": "INT64", "shape": [1]})
LABEL = ("label", ["c"], {"datatype": "BYTES", "shape": [1]})
SHARE = ("agreement", [1.0], {"shape": [1]})


@pytest.mark.parametrize(
    ("outputs", "description", "chosen"),
    [
        ([LABEL, SHARE, ("p", PROBABILITIES)], None, "p"),
        ([FEATURES, ("probabilities", PROBABILITIES)], None, "probabilities"),
        ([("probabilities", PROBABILITIES), ("o", LOGITS)], manifest(), "o"),
        ([LABEL, NUMBER, SHARE], manifest(), "index"),
    ],
)
def test_the_output_with_the_scores_is_found(outputs, description, chosen):
    given = answer(*outputs)
    assert reading_of(given, None, description).output == chosen
    metadata = ModelMetadata.model_validate_json(given.body)
    assert asked_output(metadata, description, "URL") == chosen


@pytest.mark.parametrize("outputs", [[FEATURES, ("o", LOGITS)], [NUMBER, NUMBER], [LABEL], [SHARE]])
def test_an_unclear_output_is_to_be_named(outputs):
    with pytest.raises(EndpointError, match=r"not clear which output of URL .*output\.name in the"):
        reading_of(answer(*outputs), None, None)


def test_a_model_without_described_outputs_is_asked_for_what_it_answers():
    assert asked_output(ModelMetadata(), manifest(), "URL") is None


def test_a_class_alone_hides_the_probabilities():
    reading = reading_of(answer(NUMBER), "index", manifest())
    assert (reading.kind, reading.most_probable(answer(NUMBER))) == ("class", 2)
    with pytest.raises(HiddenProbabilitiesError, match="such as hopskipjump"):
        reading.probabilities(answer(NUMBER))
    with pytest.raises(EndpointError, match="does not report how many classes"):
        reading_of(answer(NUMBER), "index", None)
    with pytest.raises(EndpointError, match="the class 2, but the model has classes 0 to 1"):
        reading_of(answer(NUMBER), "index", manifest(labels=("a", "b")))
