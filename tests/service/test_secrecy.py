"""No client can set, see or derive a draw."""

import ast
import dataclasses
import json
import logging
import re
from pathlib import Path

import numpy as np
import pytest

from defenses import Pipeline

ROOT = Path(__file__).parents[2]
SOURCES = sorted(
    path for folder in ("service", "defenses") for path in (ROOT / folder).rglob("*.py")
)
PREDICT = "/v1/predict"
INFER = "/v2/models/colours/infer"

ALLOWED = {
    "service": {"random.SystemRandom"},
    "defenses": {"random.Random"},  # the type of a parameter
    "service/auth/key_file.py": {"secrets"},
    "service/oip/long_json.py": {"secrets"},  # names that no string of a client has
    "service/middleware/request_log.py": {"uuid.uuid4"},  # ids of requests
    "service/signals/episode.py": {"uuid.uuid4"},  # ids in events
    # Measurements that are to be repeatable, beside no server.
    "service/cli/quantize.py": {"random.Random"},
    "service/evaluate/conditions.py": {"random.Random", "numpy.random.default_rng"},
    "service/evaluate/data.py": {"random.Random"},
    "service/evaluate/local.py": {"random.Random"},
}
"""What may be used as a source of random numbers, and where."""

RANDOM_MODULES = ("random", "secrets", "uuid", "numpy.random", "os.urandom", "torch", "cv2.randu")


def random_names(source):
    """The random modules, or the functions of them, that a module's source uses."""
    imported, found = {}, set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                imported[alias.asname or alias.name.partition(".")[0]] = alias.name
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
    found.update(imported.values())
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Attribute):
            names = [node.attr]
            while isinstance(node := node.value, ast.Attribute):
                names.append(node.attr)
            if isinstance(node, ast.Name) and node.id in imported:
                found.add(".".join([imported[node.id], *reversed(names)]))
    dotted = {name for name in found if name.startswith(RANDOM_MODULES)}
    return {name for name in dotted if not any(other.startswith(f"{name}.") for other in dotted)}


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("from random import SystemRandom", {"random.SystemRandom"}),
        ("import random as r\nr.seed(7)", {"random.seed"}),
        ("import numpy as np\nnp.random.default_rng(7).integers(3)", {"numpy.random.default_rng"}),
        ("from numpy.random import default_rng", {"numpy.random.default_rng"}),
        ("from os import urandom", {"os.urandom"}),
        ("import os\nos.urandom(3)", {"os.urandom"}),
        ("import numpy as np\nnp.zeros(3)", set()),
    ],
)
def test_random_sources_are_found(source, found):
    assert random_names(source) == found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_the_operating_system_s_generator_is_the_only_source(path):
    relative = str(path.relative_to(ROOT))
    allowed = ALLOWED[relative.partition("/")[0]] | ALLOWED.get(relative, set())
    used = random_names(path.read_text("utf-8"))
    assert {name for name in used if not name.startswith(tuple(allowed))} == set()


def series_of(draw):
    """The series of numbers of a draw, as text, which no other text contains by chance."""
    if dataclasses.is_dataclass(draw):
        values = [getattr(draw, field.name) for field in dataclasses.fields(draw)]
        return [series for value in values for series in series_of(value)]
    if isinstance(draw, tuple):
        return [series for value in draw for series in series_of(value)]
    if isinstance(draw, np.ndarray):
        return [" ".join(map(str, draw.ravel()))]
    return []


def leaked(series, text):
    digits = re.sub(r"[^0-9]+", " ", text)
    return [one for one in series if one in digits]


@pytest.fixture
def draws(monkeypatch):
    """The list of all draws, in their order."""
    made = []
    sample = Pipeline.sample

    def recorded(self, rng, shape):
        made.append(sample(self, rng, shape))
        return made[-1]

    monkeypatch.setattr(Pipeline, "sample", recorded)
    return made


def test_no_answer_metric_or_log_has_the_numbers_of_a_draw(start, make_photograph, draws, caplog):
    caplog.set_level(logging.DEBUG)
    client = start(allow_defense="rand")
    body = make_photograph()
    outputs = [{"name": name} for name in ("probabilities", "logits", "agreement")]
    tensor = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3], "data": [7] * 3072}
    answers = [
        client.post(f"{PREDICT}?draws=4", content=body),
        client.post(f"{PREDICT}?defense=rand&draws=4", content=body),
        client.post(PREDICT, files=[("files", ("a", body)), ("files", ("b", b"junk"))]),
        client.post(INFER, content=json.dumps({"inputs": [tensor], "outputs": outputs})),
        client.post(f"{PREDICT}?timeout_ms=1", content=body),
        client.post(f"{PREDICT}?draws=99", content=body),
        client.get("/metrics"),
        client.get("/v1/defenses"),
    ]
    defended = client.post("/v1/defend", content=body)
    texts = [f"{answer.headers} {answer.text}" for answer in answers]
    texts += [str(defended.headers), caplog.text]
    texts += [str(vars(record)) for record in caplog.records]
    series = [one for draw in draws for one in series_of(draw)]
    assert len(draws) >= 11
    assert len(series) >= 14  # two for each of fd+rdg; rand draws three numbers
    assert leaked(series, "\n".join(texts)) == []
    assert leaked(series, "\n".join([*texts, str(draws[0])]))


@pytest.mark.parametrize("parameter", ["seed", "random_state", "draw", "params", "rng"])
def test_no_parameter_of_the_open_inference_protocol_sets_the_draw(
    client, make_photograph, parameter
):
    pixels = np.random.default_rng(0).integers(0, 255, 3072).tolist()
    tensor = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3], "data": pixels}
    outputs = [{"name": "defended"}]
    request = {"id": "7", "inputs": [tensor], "outputs": outputs, "parameters": {parameter: 7}}
    answer = client.post(INFER, json=request)
    assert answer.status_code == 422
    assert parameter in answer.json()["error"]


def test_each_of_the_equal_images_of_a_request_gets_a_draw_of_its_own(
    start, make_photograph, draws
):
    client = start(defense="fd+rdg(delta=1.0)")  # fd+rdg moves a small image too little
    body = make_photograph(size=(32, 32))
    client.post(f"{PREDICT}?draws=4", files=[("files", ("a", body))] * 4)
    made = [series for draw in draws if (series := tuple(series_of(draw)))][-16:]
    assert all(len(series) == 2 for series in made)
    assert len(set(made)) == 16
