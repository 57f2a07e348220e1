"""Which hosts a request may be for."""

import pytest
from starlette.testclient import TestClient

from service.app import create_admin_app

NAMES = "api.example.org *.example.net testserver"


@pytest.fixture
def ask(start):
    client = start(allowed_host=NAMES)
    return lambda host, path="/v1/models": client.get(path, headers={"host": host})


@pytest.mark.parametrize(
    "host",
    [
        "api.example.org",
        "API.example.org:8080",
        "api.example.org.",
        "a.example.net",
        "a.b.example.net:1",
        "localhost:8080",
        "127.0.0.1:8080",
        "10.1.2.3",
        "[::1]:8080",
    ],
)
def test_an_allowed_host_is_served(ask, host):
    assert ask(host).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:8080",
        "example.org",
        "www.api.example.org",
        "example.net",
        "evilexample.net",
        "api.example.org.evil.example",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "[evil.example]",
        "api.example.org@evil.example",
    ],
)
def test_another_host_is_refused(ask, host):
    answer = ask(host)
    assert answer.status_code == 421
    assert answer.json()["error"]["code"] == "wrong_host"
    assert "--allowed-host" in answer.json()["error"]["message"]
    assert "access-control-allow-origin" not in answer.headers
    assert ask(host, "/healthz").status_code == 421
    assert ask(host, "/v2").json() == {"error": answer.json()["error"]["message"]}
    assert answer.headers["x-request-id"]


def test_by_default_any_host_is_served(client):
    assert client.get("/v1/models", headers={"host": "any.example"}).status_code == 200


def test_the_admin_port_is_protected_too(start):
    client = start(wait=False, allowed_host=NAMES, admin_port=0)
    with TestClient(create_admin_app(client.app.state.backend)) as admin:
        assert admin.get("/healthz", headers={"host": "evil.example"}).status_code == 421
        assert admin.get("/healthz", headers={"host": "10.0.0.1:9"}).status_code == 200
