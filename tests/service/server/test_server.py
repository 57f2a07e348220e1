"""The port for operators, and what no port has."""

import json

import pytest

LOAD = "/v2/repository/models/colours/load"
OPERATIONS = ("/healthz", "/readyz", "/metrics")


@pytest.fixture(scope="module")
def server(spawn_for_all):
    """A server with an admin port; gives the server and that port."""
    options = ("--admin-port", "0", "--allow-load", "--max-connections", "3", "--admin-host")
    server = spawn_for_all(*options, "127.0.0.1", "--log-format", "json", ready=False)
    announced = "Health, metrics and reloading are on http://127.0.0.1:"
    server.wait_until(lambda: announced in server.log)
    port = int(server.log.partition(announced)[2].partition('"')[0])
    server.wait_until(lambda: server.ask("/readyz", port=port).status == 200)
    return server, port


def test_health_metrics_and_reloading_are_on_the_admin_port_alone(server, make_photograph):
    server, admin = server
    for path in OPERATIONS:
        assert server.ask(path, port=admin).status == 200
        answer = server.ask(path)
        assert answer.status == 404
        assert json.loads(answer.content)["error"]["code"] == "not_found"
    assert server.ask(LOAD, b"{}", port=admin).status == 200
    assert server.ask(LOAD, b"{}").status == 404
    for path in ("/v1/predict", "/v1/defend", "/v2/models/colours/infer"):
        assert server.ask(path, make_photograph(), port=admin).status == 404
    for path in ("/docs", "/openapi.json", "/v1/models", "/v2"):
        assert server.ask(path, port=admin).status == 404
    assert server.ask("/v1/predict", make_photograph()).status == 200
    metrics = server.ask("/metrics", port=admin).content.decode()
    assert 'requests_total{route="/v1/predict",status="200"} 1.0' in metrics
    schema = json.loads(server.ask("/openapi.json").content)
    assert not {*OPERATIONS, LOAD.replace("colours", "{name}")} & set(schema["paths"])


def test_the_admin_port_answers_when_the_public_port_is_full(server, make_photograph):
    server, admin = server
    held = [server.connect() for _ in range(4)]
    try:
        server.wait_until(lambda: b"warpguard_connections 5.0" in metrics(server, admin))
        assert server.ask("/v1/predict", make_photograph()).status == 503
        assert server.ask("/readyz", port=admin).status == 200
    finally:
        for connection in held:
            connection.close()


def metrics(server, admin):
    return server.ask("/metrics", port=admin).content


def test_heads_have_their_limit_on_the_admin_port_too(server):
    server, admin = server
    with server.connect(admin) as connection:
        connection.sendall(b"GET /metrics HTTP/1.1\r\nx: " + b"x" * 20_000 + b"\r\n\r\n")
        assert connection.recv(65536).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("origin", ["https://example.org", "null"])
def test_no_port_lets_a_page_of_another_origin_read_its_answers(server, make_photograph, origin):
    server, admin = server
    headers = {"origin": origin, "access-control-request-method": "POST"}
    for port, path in ((server.port, "/v1/predict"), (server.port, "/v2"), (admin, "/metrics")):
        for body in (None, make_photograph()):
            answer = server.ask(path, body, headers, port)
            assert not [name for name, _ in answer.getheaders() if "access-control" in name.lower()]


def test_a_preflight_is_not_granted(client):
    for path in ("/v1/predict", "/v2/models/colours/infer", "/metrics"):
        headers = {"origin": "https://example.org", "access-control-request-method": "POST"}
        answer = client.options(path, headers=headers)
        assert answer.status_code == 405
        assert not [name for name in answer.headers if "access-control" in name]


def test_a_taken_admin_port_is_an_error(spawn, server):
    _, admin = server
    other = spawn("--admin-port", str(admin), ready=False)
    assert other.exit_code() == 1
    assert "address already in use" in other.log
    assert "another port with --admin-port;" in other.log
    assert "Traceback" not in other.log


def test_the_admin_port_stops_with_the_server(spawn):
    other = spawn("--admin-port", "0", ready=False)
    other.wait_until(lambda: "Health, metrics and reloading are on" in other.log)
    other.signal()
    assert other.exit_code() == 0
    assert "Traceback" not in other.log


def test_keys_are_for_the_public_port(spawn, tmp_path):
    (tmp_path / "keys.txt").write_text(f"shop {'a' * 64}")
    options = ("--api-keys", str(tmp_path / "keys.txt"), "--admin-port", "0", "--allow-load")
    server = spawn(*options, "--log-format", "json", ready=False)
    server.wait_until(lambda: "Health, metrics and reloading are on" in server.log)
    admin = int(server.log.partition("reloading are on http://127.0.0.1:")[2].partition('"')[0])
    server.wait_until(lambda: server.ask("/readyz", port=admin).status == 200)
    assert server.ask(LOAD, b"{}", port=admin).status == 200
    assert server.ask("/v1/models").status == 401
