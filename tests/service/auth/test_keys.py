"""API keys: the keys of a file that changes, and the requests that need one."""

import asyncio
import json
import threading

import pytest
from fastapi import APIRouter

import service.api.operations
import service.api.repository
import service.api.routes
import service.oip.routes
from service.app import create_app
from service.auth import key_file
from service.auth.key_file import (
    append,
    new,
)
from service.auth.keys import Keys
from service.errors import RateLimitedError
from service.settings import Settings

PREDICT = "/v1/predict"
INFER = "/v2/models/colours/infer"
IMAGE_ALONE = {"inference-header-content-length": "0"}


def code(answer):
    return answer.json()["error"]["code"]


def test_a_key_is_found_at_every_place_of_the_file(tmp_path):
    made = [new(name) for name in ("one", "two", "three")]
    (tmp_path / "keys.txt").write_text("\n".join(line for _, line in made))
    keys = Keys(tmp_path / "keys.txt", None)
    assert [keys.find(key).entry.name for key, _ in made] == ["one", "two", "three"]
    for wrong in ("", "wg_", made[0][0][:-1], made[0][0] + "x", made[0][1], "ä€", "\0"):
        assert keys.find(wrong) is None


def test_a_changed_file_is_read_again_unless_it_is_broken(keys, clock, caplog):
    path, key = keys
    served = Keys(path, None)

    def find(presented):
        asyncio.run(served.refresh())
        return served.find(presented)

    other, line = new("other")
    append(path, line)
    assert find(other) is None  # the file is looked at once a second
    clock.now += 1.1
    assert find(other).entry.name == "other"

    path.write_text("shop wg_in-place-of-its-digest")
    clock.now += 1.1
    assert find(key).entry.name == "shop"
    assert find(other).entry.name == "other"
    clock.now += 1.1
    find(key)
    assert caplog.text.count("stay as they are") == 1
    assert "wg_" not in caplog.text

    path.unlink()
    clock.now += 1.1
    assert find(key).entry.name == "shop"
    path.write_text(line)
    clock.now += 1.1
    assert find(key) is None
    assert find(other).entry.name == "other"


def test_a_file_is_read_off_the_event_loop(keys, clock, monkeypatch):
    path, _ = keys
    served, threads = Keys(path, None), []
    read_file = key_file.read

    def recorded(file):
        threads.append(threading.get_ident())
        return read_file(file)

    monkeypatch.setattr(key_file, "read", recorded)
    append(path, new("other")[1])
    clock.now += 1.1
    asyncio.run(served.refresh())
    asyncio.run(served.reload())
    assert len(threads) == 2
    assert threading.get_ident() not in threads


def test_a_file_system_that_hangs_holds_up_one_request_for_a_second(keys, monkeypatch):
    """The other requests go on, and so does this one, with the keys of before."""
    path, key = keys
    served, release = Keys(path, None), threading.Event()
    monkeypatch.setattr(served, "_file_version", lambda: release.wait(60))
    monkeypatch.setattr("service.auth.keys._LOOK_EVERY_S", 0.01)

    async def main():
        await asyncio.sleep(0.02)
        first = asyncio.create_task(served.refresh())
        await asyncio.sleep(0)
        monkeypatch.setattr("service.auth.keys._LOOK_EVERY_S", 60)
        await served.refresh()
        await first
        release.set()
        return served.find(key)

    assert asyncio.run(asyncio.wait_for(main(), 50)).entry.name == "shop"


def test_a_key_keeps_its_rate_limit_state_when_another_line_changes(keys, clock):
    path, key = keys
    served = Keys(path, 2.0)
    served.find(key).bucket.take(2)
    append(path, new("other")[1])
    asyncio.run(served.reload())
    with pytest.raises(RateLimitedError):
        served.find(key).bucket.take(1)


@pytest.mark.parametrize("line_rate", ["", "rate=3", "rate=3 burst=9"])
def test_the_rate_of_a_line_wins_over_the_server_s(tmp_path, line_rate, clock):
    key, line = new("shop", line_rate)
    (tmp_path / "keys.txt").write_text(line)
    bucket = Keys(tmp_path / "keys.txt", 0.5).find(key).bucket
    bucket.take(9 if "burst" in line_rate else 3 if line_rate else 1)
    with pytest.raises(RateLimitedError, match="3 images" if line_rate else r"0\.5 images"):
        bucket.take(1)
    assert Keys(tmp_path / "keys.txt", None).find(key).bucket is None or line_rate


@pytest.fixture
def guarded(start, keys):
    path, key = keys
    return start(api_keys=path, allow_load=True), key


@pytest.mark.parametrize("given", ["bearer", "Bearer", "x-api-key"])
def test_a_request_with_a_key_is_served(guarded, make_photograph, given):
    client, key = guarded
    headers = {"x-api-key": key} if given == "x-api-key" else {"authorization": f"{given} {key}"}
    assert client.post(PREDICT, content=make_photograph(), headers=headers).status_code == 200
    headers |= IMAGE_ALONE
    assert client.post(INFER, content=make_photograph(), headers=headers).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"authorization": "Bearer"},
        {"authorization": "Bearer wg_wrong"},
        {"authorization": "Basic {key}"},
        {"authorization": "{key}"},
        {"x-api-key": "Bearer {key}"},
        {"authorization": "Bearer wg_wrong", "x-api-key": "{key}"},
        {"cookie": "x-api-key={key}"},
    ],
)
def test_a_request_without_a_valid_key_is_refused(guarded, make_photograph, headers):
    client, key = guarded
    headers = {name: value.format(key=key) for name, value in headers.items()}
    for method, route in (
        ("POST", PREDICT),
        ("POST", "/v1/defend"),
        ("GET", "/v1/models"),
        ("GET", "/v1/defenses"),
    ):
        answer = client.request(method, route, content=make_photograph(), headers=headers)
        assert (answer.status_code, code(answer)) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    for method, route in (
        ("POST", INFER),
        ("GET", "/v2"),
        ("GET", "/v2/models/colours"),
        ("POST", "/v2/repository/models/colours/load"),
    ):
        answer = client.request(method, route, headers=headers)
        assert answer.status_code == 401
        assert "API key is needed" in answer.json()["error"]
        assert answer.headers["www-authenticate"] == "Bearer"
    assert client.post(f"{PREDICT}?x-api-key={key}", content=b"x").status_code == 401


def test_every_route_except_health_and_documentation_needs_a_key(guarded):
    client, _ = guarded
    open_routes = set()
    for module in (
        service.api.routes,
        service.api.operations,
        service.api.repository,
        service.oip.routes,
    ):
        for found in (found for each in vars(module).values() for found in routes_of(each)):
            path = found.path.format(model="colours", version="1", name="colours")
            for method in found.methods:
                status = client.request(method, path).status_code
                assert status not in (404, 405), path
                if status != 401:
                    open_routes.add(found.path)
    assert open_routes == {
        "/healthz",
        "/readyz",
        "/metrics",
        "/v2/health/live",
        "/v2/health/ready",
        "/v2/models/{model}/ready",
        "/v2/models/{model}/versions/{version}/ready",
    }


def routes_of(value):
    return value.routes if isinstance(value, APIRouter) else []


@pytest.mark.parametrize(("presented", "status"), [("exhausted", 429), ("wrong", 401)])
def test_the_body_of_a_refused_request_is_not_read(tmp_path, presented, status):
    key, line = new("shop", "rate=0.01 burst=1")
    (tmp_path / "keys.txt").write_text(line)
    app = create_app(Settings(api_keys=tmp_path / "keys.txt"), load=lambda: None)
    app.state.backend.keys.find(key).bucket.take(1)
    sent = []

    async def receive():
        pytest.fail("The body is read.")

    async def send(message):
        sent.append(message)

    own = key if presented == "exhausted" else "wg_wrong"
    headers = [(b"x-api-key", own.encode()), (b"content-length", b"1000")]
    scope = {"type": "http", "method": "POST", "path": PREDICT, "headers": headers}
    asyncio.run(app(scope | {"query_string": b"", "root_path": ""}, receive, send))
    assert sent[0]["status"] == status


def test_the_schema_describes_how_a_key_is_sent(guarded, client):
    schema = guarded[0].get("/openapi.json").json()
    assert set(schema["components"]["securitySchemes"]) == {"HTTPBearer", "APIKeyHeader"}
    assert schema["paths"][PREDICT]["post"]["security"]
    assert "securitySchemes" not in client.get("/openapi.json").json()["components"]


def test_a_real_server_follows_its_file_and_logs_no_key(spawn, keys, make_photograph):
    path, key = keys
    server = spawn("--api-keys", str(path), "--log-level", "debug", "--log-format", "json")
    body, own = make_photograph(), {"authorization": f"Bearer {key}"}
    assert server.ask(PREDICT, body, own).status == 200
    assert server.ask(PREDICT, body).status == 401
    other, line = new("other")
    append(path, line)
    server.signal(1)  # SIGHUP
    server.wait_until(lambda: server.ask(PREDICT, body, {"x-api-key": other}).status == 200)
    path.write_text(line)
    server.wait_until(lambda: server.ask(PREDICT, body, own).status == 401)
    path.write_text(f"other {other}")
    while "stay as they are" not in server.log:
        assert server.ask(PREDICT, body, {"x-api-key": other}).status == 200
    for path in (f"/v1/{key}", f"/v1/predict?key={key}"):
        server.ask(path, body, own)
    with server.connect() as connection:
        connection.sendall(f"GET /{key} HTTP/9\r\nauthorization: {key}\r\n\r\n".encode())
        connection.recv(65536)
    server.signal()
    assert server.exit_code() == 0
    assert other not in server.log
    assert key not in server.log
    names = [json.loads(entry).get("key") for entry in server.log.splitlines()]
    assert {"shop", "other"} < set(names)


def test_a_server_does_not_start_with_a_broken_file(spawn, tmp_path):
    (tmp_path / "keys.txt").write_text("shop wg_key")
    server = spawn("--api-keys", str(tmp_path / "keys.txt"), ready=False)
    assert server.exit_code() == 1
    assert "line 1" in server.log
    assert "Traceback" not in server.log
    assert "wg_key" not in server.log
