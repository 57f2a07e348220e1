"""API keys: their file, their rate limits, and the requests that need one."""

import asyncio
import json
import os
import re
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from fastapi import APIRouter

import service.api.operations
import service.api.repository
import service.api.routes
import service.oip.routes
from service.app import create_app
from service.auth import key_file
from service.auth.key_file import (
    KeyEntry,
    KeyFileError,
    append,
    digest_of,
    new,
    parse,
    read,
    remove,
)
from service.auth.keys import Keys
from service.auth.rate_limit import Bucket
from service.errors import RateLimitedError
from service.settings import Settings

PREDICT = "/v1/predict"
INFER = "/v2/models/colours/infer"
IMAGE_ALONE = {"inference-header-content-length": "0"}


def code(answer):
    return answer.json()["error"]["code"]


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves."""

    class Clock:
        now = 1000.0

        def __call__(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    return clock


@pytest.fixture
def keys(tmp_path):
    """A file with one key; gives the file and the key."""
    key, line = new("shop")
    path = tmp_path / "keys.txt"
    append(path, line)
    return path, key


def test_a_new_key_is_long_and_random_and_only_its_digest_is_in_its_line():
    first, second = new("shop"), new("shop")
    assert first[0] != second[0]
    for key, line in (first, second):
        assert key.startswith(key_file.PREFIX)
        assert len(key) == len(key_file.PREFIX) + 43  # 256 bits in base 64
        assert key not in line
        assert line == f"shop {digest_of(key)}"
    assert new("shop", "rate=5 burst=0.5")[1].endswith(" rate=5 burst=0.5")


@pytest.mark.parametrize("name", ["", "a b", "#", "ä", "x" * 65, "-x", "a\nb"])
def test_a_name_that_is_not_valid_is_refused(name):
    with pytest.raises(KeyFileError, match=re.escape(f"Invalid key name {name!r}: use letters,")):
        new(name)


A, B = "a" * 64, "b" * 64


def test_a_file_has_comments_and_blank_lines():
    text = f"# the shop's\n\nshop {A} rate=5 burst=20 # until May\n  app  {B}\n"
    assert parse(text, "keys.txt") == (KeyEntry("shop", A, 5, 20), KeyEntry("app", B, None, None))


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("shop", "SHA-256"),
        (f"shop {A[1:]}", "SHA-256"),
        (f"shop {A.upper()}", "SHA-256"),
        ("shop wg_the-key-itself", "SHA-256"),
        (f"sh/op {A}", "name"),
        (f"shop {A} rate", "above 0"),
        (f"shop {A} rate=0", "above 0"),
        (f"shop {A} rate=-1", "above 0"),
        (f"shop {A} rate=nan", "above 0"),
        (f"shop {A} rate=inf", "above 0"),
        (f"shop {A} speed=1", "above 0"),
        (f"shop {A} alarm=", "same-picture or concentration"),
        (f"shop {A} alarm=noise", "same-picture or concentration"),
        (f"shop {A} alarm=off,concentration", "same-picture or concentration"),
        (f"other {B}", "an earlier line has this name or this key already"),
        (f"first {A}", "an earlier line has this name or this key already"),
    ],
)
def test_a_line_that_is_not_valid_is_named_by_its_number_alone(line, problem):
    with pytest.raises(KeyFileError) as caught:
        parse(f"first {B}\n# comment\n{line}\n", "keys.txt")
    assert str(caught.value).startswith("keys.txt, line 3: ")
    assert problem in str(caught.value)
    assert "wg_" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"\xff\xfe\x00"])
def test_a_file_without_keys_is_refused(tmp_path, content):
    (tmp_path / "keys.txt").write_bytes(content)
    with pytest.raises(KeyFileError, match=r"keys\.txt"):
        read(tmp_path / "keys.txt")
    with pytest.raises(KeyFileError, match="No such file"):
        read(tmp_path / "missing.txt")


def test_appending_replaces_the_whole_file(tmp_path, monkeypatch):
    path, link = tmp_path / "keys.txt", tmp_path / "link.txt"
    link.symlink_to(path)
    append(path, f"shop {A}")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    path.write_text(path.read_text().rstrip("\n"))  # as an editor may leave it
    before = path.stat().st_ino
    append(link, f"app {B} rate=5")
    assert [entry.name for entry in read(path)] == ["shop", "app"]
    assert path.stat().st_ino != before
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert link.is_symlink()
    with pytest.raises(KeyFileError, match=r"has a key named 'shop'\. Edit its line"):
        append(path, f"shop {'c' * 64}")

    def full(_):
        raise OSError(28, "No space left on device")

    text = path.read_text()
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyFileError, match="No space left"):
        append(path, f"more {'d' * 64}")
    assert path.read_text() == text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["keys.txt", "link.txt"]


def test_keys_that_are_added_at_once_are_all_kept(tmp_path, monkeypatch):
    """Each has read the file before any has written it, if nothing is locked."""
    path = tmp_path / "keys.txt"
    append(path, new("first")[1])
    barrier, parse_file = threading.Barrier(8), key_file.parse

    def slow(text, source):
        with suppress(threading.BrokenBarrierError):
            barrier.wait(0.05)
        return parse_file(text, source)

    monkeypatch.setattr(key_file, "parse", slow)
    lines = [f"key{number} {digest_of(str(number))}" for number in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda line: append(path, line), lines))
        assert len(read(path)) == 9
        list(pool.map(lambda number: remove(path, f"key{number}"), range(8)))
    assert [entry.name for entry in read(path)] == ["first"]


def test_a_file_keeps_its_owner(tmp_path, monkeypatch):
    path = tmp_path / "keys.txt"
    append(path, f"shop {A}")
    owners = []
    monkeypatch.setattr(os, "chown", lambda file, *owner: owners.append((Path(file).name, *owner)))
    append(path, f"app {B}")
    remove(path, "shop")
    own = path.stat()
    assert [owner[1:] for owner in owners] == [(own.st_uid, own.st_gid)] * 2
    assert "keys.txt" not in [name for name, *_ in owners]  # before the file takes its place

    def refuse(*_):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    text = path.read_text()
    with pytest.raises(KeyFileError) as caught:
        append(path, f"more {'c' * 64}")
    assert str(caught.value) == (
        f"{path} cannot be replaced by a file of the same owner, user {own.st_uid} and group "
        f"{own.st_gid}: Operation not permitted. Run the command as that user or as root."
    )
    assert path.read_text() == text
    assert [p.name for p in tmp_path.iterdir()] == ["keys.txt"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_a_file_of_another_user_stays_that_user_s(tmp_path):
    path = tmp_path / "keys.txt"
    append(path, f"shop {A}")
    os.chown(path, 10001, 10002)
    append(path, f"app {B}")
    found = path.stat()
    assert (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)) == (10001, 10002, 0o600)


def test_a_removed_key_takes_its_line_alone(tmp_path):
    path = tmp_path / "keys.txt"
    path.write_text(f"# shop\nshop {A} rate=5\n\n  app  {B} # shop\n")
    path.chmod(0o640)
    remove(path, "app")
    assert path.read_text() == f"# shop\nshop {A} rate=5\n\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.parametrize(
    ("name", "problem"),
    [
        ("shpo", "has no key named 'shpo'; the nearest name is 'shop'"),
        ("zzz", "the nearest name is "),
        ("", "has no key named ''"),
    ],
)
def test_an_unknown_key_is_not_removed(tmp_path, name, problem):
    path = tmp_path / "keys.txt"
    path.write_text(f"shop {A}\napp {B}\n")
    with pytest.raises(KeyFileError, match=problem):
        remove(path, name)
    assert len(read(path)) == 2


def test_the_only_key_is_not_removed(tmp_path):
    """A server with a file without keys would go on with the key."""
    (tmp_path / "keys.txt").write_text(f"shop {A}\n")
    with pytest.raises(KeyFileError, match="First make another key"):
        remove(tmp_path / "keys.txt", "shop")
    assert len(read(tmp_path / "keys.txt")) == 1


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="the system has no named pipes")
def test_a_file_that_is_not_regular_or_too_large_is_refused(tmp_path):
    path = tmp_path / "keys.txt"
    os.mkfifo(path)
    for work in (lambda: read(path), lambda: append(path, f"shop {A}"), lambda: remove(path, "x")):
        with pytest.raises(KeyFileError, match="it is not a regular file"):
            work()
    with pytest.raises(KeyFileError, match="Is a directory"):
        read(tmp_path)
    with pytest.raises(KeyFileError, match="it is not a regular file"):
        read(Path("/dev/zero"))
    path.unlink()
    path.write_text(f"shop {A}\n" + "#" * key_file.MOST_BYTES)
    with pytest.raises(KeyFileError, match="it has more than 1048576 bytes, the largest size"):
        read(path)


def test_a_bucket_fills_at_its_rate_up_to_its_burst(clock):
    bucket = Bucket(rate=2, burst=6)
    for _ in range(6):
        bucket.take(1)
    with pytest.raises(RateLimitedError, match="2 images a second; try again in 1 s") as caught:
        bucket.take(1)
    assert (caught.value.status, caught.value.retry_after_s) == (429, 1)
    with pytest.raises(RateLimitedError, match="in 3 s"):
        bucket.take(5)
    clock.now += 2.5
    bucket.take(5)
    clock.now += 1000
    bucket.take(6)
    with pytest.raises(RateLimitedError):
        bucket.check(1)


def test_a_full_bucket_allows_more_than_its_burst_and_refills_for_longer(clock):
    bucket = Bucket(rate=2, burst=4)
    bucket.take(16)
    with pytest.raises(RateLimitedError) as caught:
        bucket.take(1)
    assert caught.value.retry_after_s == 7  # the balance is -12, and one image is requested
    clock.now += 6.6
    bucket.take(1)


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


def test_a_key_has_one_rate_for_both_apis(start, tmp_path, make_photograph):
    key, line = new("shop", "rate=0.01 burst=6")
    other, other_line = new("other")
    (tmp_path / "keys.txt").write_text(f"{line}\n{other_line}\n")
    client = start(api_keys=tmp_path / "keys.txt")
    body, own = make_photograph(), {"x-api-key": key}
    assert client.post(f"{PREDICT}?draws=3", content=body, headers=own).status_code == 200
    assert client.post(INFER, content=body, headers=own | IMAGE_ALONE).status_code == 200
    form = {"files": ("a.png", body)}
    assert client.post(f"{PREDICT}?draws=2", files=form, headers=own).status_code == 200
    answer = client.post(PREDICT, content=body, headers=own)
    assert (answer.status_code, code(answer)) == (429, "rate_limited")
    assert 0 < int(answer.headers["retry-after"]) <= 100
    answer = client.post(INFER, content=body, headers=own | IMAGE_ALONE)
    assert answer.status_code == 429
    assert "0.01 images a second" in answer.json()["error"]
    assert "retry-after" in answer.headers
    for _ in range(10):
        answer = client.post(PREDICT, content=body, headers={"x-api-key": other})
        assert answer.status_code == 200
    metrics = client.get("/metrics").text
    assert 'warpguard_errors_total{code="rate_limited"} 2.0' in metrics
    assert "shop" not in metrics


@pytest.fixture
def limited(start, tmp_path):
    """A server with a key of ten images at once; gives a function that posts with the key."""
    key, line = new("shop", "rate=0.001 burst=10")
    (tmp_path / "keys.txt").write_text(line)
    client = start(api_keys=tmp_path / "keys.txt", allow_load=True)

    def post(path, content=b"", **headers):
        answer = client.post(path, content=content, headers={"x-api-key": key} | headers)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) > 0
        return answer.status_code

    post.client, post.key = client, key
    return post


@pytest.mark.parametrize(
    ("path", "content", "status"),
    [
        (PREDICT, b"not an image", 415),
        (PREDICT, b"", 400),
        (f"{PREDICT}?draws=99", b"", 422),
        (f"{PREDICT}?defense=none%2Bfd", b"", 422),
        (INFER, b"[" * 99, 400),
        (INFER, b'{"inputs": []}', 422),
        ("/v2/models/another/infer", b"", 404),
        ("/v2/repository/models/another/load", b"", 404),
        ("/v1/defend", b"GIF89a", 400),
    ],
)
def test_refused_work_is_charged(limited, path, content, status):
    """Reading a body and finding out what is wrong with it is work too."""
    assert [limited(path, content) for _ in range(12)] == [status] * 10 + [429] * 2


def test_a_question_that_is_not_work_is_not_charged(limited, make_photograph):
    headers = {"x-api-key": limited.key}
    for _ in range(30):
        assert limited.client.get("/v1/models", headers=headers).status_code == 200
    assert limited(f"{PREDICT}?draws=10", make_photograph()) == 200
    assert limited.client.get("/v1/models", headers=headers).status_code == 429


def test_a_load_is_charged_like_many_images(limited):
    load = "/v2/repository/models/colours/load"
    assert [limited(load) for _ in range(3)] == [200, 429, 429]


@pytest.mark.parametrize(
    ("megapixels", "kind", "more"), [(1, "PNG", 9), (3, "PNG", 7), (3, "WEBP", 7), (3, "JPEG", 9)]
)
def test_a_large_image_is_charged_by_its_pixels(limited, make_photograph, megapixels, kind, more):
    body = make_photograph(size=(1000, 1000 * megapixels), kind=kind, noise=0)
    assert limited(PREDICT, body) == 200  # a JPEG is reduced while it is decoded
    small = make_photograph()
    assert [limited(PREDICT, small) for _ in range(more + 1)] == [200] * more + [429]


@pytest.mark.parametrize("way", ["a broken image", "a tensor", "an image to defend"])
def test_the_pixels_of_every_way_are_charged(limited, make_photograph, way):
    body = make_photograph(size=(2000, 2000), kind="JPEG" if way == "an image to defend" else "PNG")
    if way == "a broken image":
        assert limited(PREDICT, body[: len(body) // 2]) == 400
    elif way == "an image to defend":
        assert limited("/v1/defend", body) == 200
    else:
        tensor = {"name": "x", "datatype": "UINT8", "shape": [2000, 2000, 3]}
        tensor["parameters"] = {"binary_data_size": 12_000_000}
        head = json.dumps({"inputs": [tensor]}).encode()
        pixels = np.zeros(12_000_000, np.uint8).tobytes()
        length = {"inference-header-content-length": str(len(head))}
        assert limited(INFER, head + pixels, **length) == 200
    small = make_photograph()
    assert [limited(PREDICT, small) for _ in range(7)] == [200] * 6 + [429]


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


def test_the_command_makes_valid_keys(tmp_path):
    from service.cli.main import main

    path = tmp_path / "keys.txt"
    assert main(["keys", "new", "shop", "--file", str(path), "--rate", "5"]) == 0
    assert main(["keys", "new", "app", "--file", str(path)]) == 0
    assert main(["keys", "new", "app", "--file", str(path)]) == 1
    assert [(entry.name, entry.rate) for entry in read(path)] == [("shop", 5), ("app", None)]


def test_the_command_shows_a_key_once(tmp_path, capsys):
    from service.cli.main import main

    main(["keys", "new", "shop"])
    key, line = capsys.readouterr().out.splitlines()
    assert line == f"shop {digest_of(key)}"
    main(["keys", "new", "shop", "--file", str(tmp_path / "keys.txt")])
    (key,) = capsys.readouterr().out.splitlines()
    assert Keys(tmp_path / "keys.txt", None).find(key).entry.name == "shop"
    assert main(["keys", "new", "shop", "--rate", "0"]) == 1
    assert "above 0" in capsys.readouterr().err


def test_a_server_does_not_start_with_a_broken_file(spawn, tmp_path):
    (tmp_path / "keys.txt").write_text("shop wg_key")
    server = spawn("--api-keys", str(tmp_path / "keys.txt"), ready=False)
    assert server.exit_code() == 1
    assert "line 1" in server.log
    assert "Traceback" not in server.log
    assert "wg_key" not in server.log
