"""HEAD where GET is, and paths that do not exist."""

import pytest

GETS = (
    "/healthz",
    "/readyz",
    "/v1/models",
    "/v1/defenses",
    "/v2",
    "/v2/health/live",
    "/v2/health/ready",
    "/v2/models/colours",
    "/v2/models/colours/ready",
    "/openapi.json",
    "/docs",
)


@pytest.mark.parametrize("path", GETS)
def test_head_is_answered_as_get_without_a_body(client, path):
    get, head = client.get(path), client.head(path)
    assert (get.status_code, head.status_code) == (200, 200)
    assert head.content == b""
    for name in ("content-length", "content-type"):
        assert head.headers[name] == get.headers[name]


def test_head_of_the_metrics(client):
    head = client.head("/metrics")
    assert head.status_code == 200
    assert int(head.headers["content-length"]) > 1000
    assert (
        'warpguard_requests_total{route="/metrics",status="200"} 1.0' in client.get("/metrics").text
    )


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/defend", "/v2/models/colours/infer"])
def test_head_where_there_is_no_get(client, path):
    answer = client.head(path)
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.head("/nothing").status_code == 404


def test_the_allowed_methods_name_head(client):
    answer = client.post("/healthz")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


@pytest.mark.parametrize("path", ["/v1/predict/", "/v1/models/", "/healthz/", "/v2/", "//v2"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
def test_a_path_with_a_further_slash_does_not_exist(client, method, path):
    answer = client.request(method, path, follow_redirects=False)
    assert answer.status_code == 404
    assert "location" not in answer.headers
    assert answer.headers["content-type"] == "application/json"
