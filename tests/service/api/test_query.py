"""A typo in the query is an error, and not another answer."""

import pytest

LOADED = "/v2/repository/models/colours/load"
ALLOWED = "Allowed: defense, draws, top_k, timeout_ms."


@pytest.fixture
def client(start):
    return start(allow_load=True)


def refused(client, method, address):
    """The message of a refusal, in either form of errors."""
    answer = client.request(method, address, content=b"" if method == "POST" else None)
    assert answer.status_code == 422, answer.text
    error = answer.json()["error"]
    return error if isinstance(error, str) else error["message"]


@pytest.mark.parametrize(
    ("query", "name", "meant"),
    [
        ("draw=8", "draw", "draws"),
        ("topk=1", "topk", "top_k"),
        ("top-k=1", "top-k", "top_k"),
        ("Defense=none", "Defense", "defense"),
        ("defence=none", "defence", "defense"),
        ("DRAWS=2", "DRAWS", "draws"),
        ("draws=2&timeout=5", "timeout", "timeout_ms"),
        ("%20draws=2", " draws", "draws"),
        ("draws[]=2", "draws[]", "draws"),
    ],
)
def test_an_unknown_parameter_is_refused_and_the_nearest_named(client, query, name, meant):
    message = refused(client, "POST", f"/v1/predict?{query}")
    assert message == f"Unknown query parameter {name!r}. Did you mean {meant!r}? {ALLOWED}"


@pytest.mark.parametrize("query", ["seed=1", "=1", "x", "%F0%9F%98%80=1"])
def test_without_a_near_name_the_allowed_ones_are_listed(client, query):
    message = refused(client, "POST", f"/v1/predict?{query}")
    assert message.startswith("Unknown query parameter '")
    assert message.endswith(f"'. {ALLOWED}")
    assert message.isascii()


def test_a_long_name_is_not_repeated_in_full(client):
    assert len(refused(client, "POST", f"/v1/predict?{'x' * 9000}=1")) < 200


@pytest.mark.parametrize("query", ["draws=1&draws=8", "draws=2&draws=2", "defense=fd&defense="])
def test_a_repeated_parameter_is_refused(client, query):
    name = query.partition("=")[0]
    message = refused(client, "POST", f"/v1/predict?{query}")
    assert message == f"The query parameter {name!r} is given 2 times."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", "/v1/defend?draws=2"),
        ("GET", "/v1/models?name=x"),
        ("GET", "/v1/defenses?all=1"),
        ("GET", "/v2?a=1"),
        ("GET", "/v2/models/colours?a=1"),
        ("GET", "/v2/models/colours/versions/1?a=1"),
        ("POST", "/v2/models/colours/infer?draws=2"),
        ("POST", "/v2/models/colours/versions/1/infer?defense=none"),
        ("POST", f"{LOADED}?wait=1"),
    ],
)
def test_every_path_that_does_work_is_strict(client, method, path):
    assert "Unknown query parameter" in refused(client, method, path)


@pytest.mark.parametrize(
    "path",
    [
        "/healthz",
        "/readyz",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/colours/ready",
        "/v2/models/colours/versions/1/ready",
    ],
)
def test_probes_and_metrics_accept_any_parameter(client, path):
    assert client.get(f"{path}?verbose=1&verbose=2").status_code == 200


def test_the_parameters_that_exist_are_accepted(client, make_photograph):
    query = "defense=none&draws=2&top_k=1&timeout_ms=60000"
    answer = client.post(f"/v1/predict?{query}", content=make_photograph())
    assert answer.status_code == 200
    assert len(answer.json()["predictions"]) == 1


def test_who_has_no_key_learns_nothing(start, tmp_path):
    keys = tmp_path / "keys"
    keys.write_text(f"someone {'0' * 64}\n")
    assert start(api_keys=keys).post("/v1/predict?draw=8", content=b"").status_code == 401
