"""The count and the log line of each request, and the metrics, which no client can make grow."""

import asyncio
import logging
import threading
import time

import pytest

from service.telemetry.logs import request_id

PREDICT = "/v1/predict"


def series(client):
    lines = client.get("/metrics").text.splitlines()
    return dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))


def call(app, method, path, *, headers=(), messages=(), query=b""):
    """Call the application as a server does; return the awaitable and the messages it sends."""
    waiting = [*messages] or [{"type": "http.request", "body": b"", "more_body": False}]
    sent = []

    async def receive():
        if not waiting:
            await asyncio.Event().wait()
        message = waiting.pop(0)
        return await message() if callable(message) else message

    async def send(message):
        sent.append(message)

    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "root_path": "",
        "query_string": query,
        "headers": [(name.encode(), value.encode("latin-1")) for name, value in headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8080),
        "state": {},
    }
    return app(scope, receive, send), sent


def body(*pieces):
    return [
        {"type": "http.request", "body": piece, "more_body": i + 1 < len(pieces)}
        for i, piece in enumerate(pieces)
    ]


def test_no_client_can_grow_the_metrics(client, make_photograph):
    """A thousand odd paths, methods, defences and headers add no series."""
    app = client.app
    good = make_photograph()

    def visit(marks):
        async def all_of_it():
            for mark in marks:
                odd = f"odd{mark}"
                requests = (
                    ("GET", f"/{odd}", {}),
                    ("GET", f"/v1/{odd}/../predict", {}),
                    ("POST", f"/v2/models/{odd}/infer", {}),
                    (f"ODD{mark}", PREDICT, {}),
                    (f"ODD{mark}", "/healthz", {}),
                    ("POST", PREDICT, {"query": f"defense={odd}".encode()}),
                    ("POST", PREDICT, {"query": f"draws={odd}".encode()}),
                    ("POST", PREDICT, {"query": f"{odd}=1".encode(), "messages": body(good)}),
                    ("POST", PREDICT, {"headers": [("x-request-id", odd), (odd, odd)]}),
                    ("POST", PREDICT, {"headers": [("content-type", f"image/{odd}")]}),
                    ("POST", "/v1/defend", {"messages": body(odd.encode())}),
                )
                for method, path, options in requests:
                    await call(app, method, path, **options)[0]

        client.portal.call(all_of_it)

    visit(["first"])
    series(client)  # a scrape is a request too
    before = series(client)
    visit(range(100))
    after = series(client)
    assert set(after) == set(before)
    answered = [name for name in after if name.startswith("warpguard_requests_total")]
    counted = sum(float(after[name]) - float(before[name]) for name in answered)
    assert counted == 100 * 11 + 1  # and the scrape
    assert not [name for name in after if "odd" in name.lower()]


def test_the_stage_receive_ends_with_the_body_s_last_byte(client, make_photograph, monkeypatch):
    good = make_photograph()
    clock, passed_s = time.perf_counter, [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: clock() + passed_s[0])

    async def slowly():
        passed_s[0] = 1000.0
        return {"type": "http.request", "body": good[100:], "more_body": False}

    first = {"type": "http.request", "body": good[:100], "more_body": True}
    answering, sent = call(client.app, "POST", PREDICT, messages=[first, slowly])
    client.portal.call(lambda: answering)
    assert sent[0]["status"] == 200
    now = series(client)
    assert now['warpguard_stage_seconds_count{stage="receive"}'] == "1.0"
    assert float(now['warpguard_stage_seconds_sum{stage="receive"}']) >= 1000
    assert float(now['warpguard_stage_seconds_sum{stage="total"}']) < 1000
    client.get("/readyz")
    assert series(client)['warpguard_stage_seconds_count{stage="receive"}'] == "1.0"


def test_defended_images_have_the_stages_of_their_way(client, make_photograph):
    client.post("/v1/defend", content=make_photograph())
    now = series(client)
    counts = {
        stage: now[f'warpguard_stage_seconds_count{{stage="{stage}"}}']
        for stage in ("receive", "decode", "defend", "preprocess", "queue", "infer", "total")
    }
    assert [stage for stage, count in counts.items() if count == "1.0"] == [
        "receive",
        "decode",
        "defend",
        "total",
    ]


def test_every_possible_series_exists_from_the_start(client):
    now = series(client)
    for name in (
        'warpguard_errors_total{code="busy"}',
        'warpguard_errors_total{code="deadline_exceeded"}',
        'warpguard_images_total{defense="fd+rdg"}',
        'warpguard_images_total{defense="none"}',
        'warpguard_stage_seconds_bucket{le="0.0005",stage="receive"}',
    ):
        assert now[name] == "0.0"
    assert now["warpguard_in_flight_limit_images"] == "256.0"
    assert float(now["process_resident_memory_bytes"]) > 1e6
    assert float(now["process_cpu_seconds_total"]) > 0
    assert not [name for name in now if "_created" in name]


def test_a_client_that_leaves_is_counted(start, load_colours, make_photograph):
    started, release = threading.Event(), threading.Event()

    def load():
        classifier = load_colours()
        classifier.warm_up = lambda _: None
        run = classifier.run
        classifier.run = lambda batch: (started.set(), release.wait(60), run(batch))[-1]
        return classifier

    client = start(load)

    async def leave():
        while not started.is_set():
            await asyncio.sleep(0.001)
        return {"type": "http.disconnect"}

    messages = [*body(make_photograph()), leave]
    answering, sent = call(client.app, "POST", PREDICT, messages=messages)
    client.portal.call(lambda: answering)
    release.set()
    assert sent == []
    assert series(client)[f'warpguard_requests_total{{route="{PREDICT}",status="499"}}'] == "1.0"


def test_a_bug_of_the_server_is_answered_and_logged(client, make_photograph, monkeypatch, caplog):
    def fail(*_, **__):
        raise ZeroDivisionError("/secret/path")

    monkeypatch.setattr(client.app.state.backend, "admit", fail)
    messages = body(make_photograph())
    headers = [("x-request-id", "the-failed-one")]
    answering, sent = call(client.app, "POST", PREDICT, messages=messages, headers=headers)
    with (
        caplog.at_level(logging.INFO, "service.access"),
        pytest.raises(ZeroDivisionError),  # uvicorn logs it
    ):
        client.portal.call(lambda: answering)
    start, answer = sent
    assert start["status"] == 500
    assert dict(start["headers"])[b"x-request-id"] == b"the-failed-one"
    assert b'"internal_error"' in answer["body"]
    assert b"secret" not in answer["body"]
    assert series(client)[f'warpguard_requests_total{{route="{PREDICT}",status="500"}}'] == "1.0"
    (line,) = [each for each in caplog.records if each.name == "service.access"]
    assert (line.levelname, line.fields["status"]) == ("WARNING", 500)


def test_work_is_logged_at_info_and_probes_at_debug(client, make_photograph, caplog):
    with caplog.at_level(logging.DEBUG, "service.access"):
        client.post(PREDICT, content=make_photograph())
        client.post(PREDICT, content=b"junk")
        client.get("/healthz")
        client.get("/nothing")
        client.post("/nothing")
    logged = [
        (each.levelname, each.fields["route"], each.fields["status"])
        for each in caplog.records
        if each.name == "service.access"
    ]
    assert logged == [
        ("INFO", PREDICT, 200),
        ("INFO", PREDICT, 415),
        ("DEBUG", "/healthz", 200),
        ("DEBUG", "unmatched", 404),
        ("DEBUG", "unmatched", 404),
    ]


ASKED = ("images", "draws", "agreement")


def asked(caplog):
    """What the access lines have of these fields, in their order."""
    lines = [each.fields for each in caplog.records if each.name == "service.access"]
    return [{name: line[name] for name in line if name in ASKED} for line in lines]


def test_a_line_has_the_images_their_draws_and_their_agreement(client, make_photograph, caplog):
    image, agreements = make_photograph(), []

    def post(path, **options):
        answer = client.post(path, **options).json()
        results = answer.get("results", [{"prediction": answer}])
        found = [each["prediction"]["agreement"] for each in results if each["prediction"]]
        agreements.append(round(sum(found) / len(found), 3))

    tensor = {"name": "x", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": [7] * 6144}
    with caplog.at_level(logging.INFO, "service.access"):
        post(PREDICT, content=image)
        post(f"{PREDICT}?draws=3", content=make_photograph(noise=120))
        files = [("files", ("a", image)), ("files", ("b", b"junk")), ("files", ("c", image))]
        post(f"{PREDICT}?draws=2", files=files)
        body = {"inputs": [tensor], "parameters": {"draws": 4}, "outputs": [{"name": "agreement"}]}
        answer = client.post("/v2/models/colours/infer", json=body).json()
        agreements.append(sum(answer["outputs"][0]["data"]) / 2)
    assert asked(caplog) == [
        {"images": images, "draws": draws, "agreement": pytest.approx(agreement, abs=1e-3)}
        for images, draws, agreement in zip((1, 1, 3, 2), (1, 3, 2, 4), agreements, strict=True)
    ]
    assert [list(each) for each in asked(caplog)] == 4 * [list(ASKED)]


def test_a_line_has_only_what_is_known(client, make_photograph, caplog):
    with caplog.at_level(logging.INFO, "service.access"):
        client.post(f"{PREDICT}?draws=2", content=b"junk")  # admitted, and then not an image
        client.post("/v1/defend", content=make_photograph())
        client.post(f"{PREDICT}?draws=99", content=make_photograph())  # refused before
    assert asked(caplog) == [{"images": 1, "draws": 2}, {"images": 1, "draws": 1}, {}]


def test_concurrent_requests_keep_their_ids(client, make_photograph, monkeypatch, caplog):
    good = make_photograph()

    async def many():
        calls = [
            call(client.app, "POST", PREDICT, messages=body(good), headers=[("x-request-id", name)])
            for name in names
        ]
        await asyncio.gather(*(answering for answering, _ in calls))
        return [dict(sent[0]["headers"])[b"x-request-id"].decode() for _, sent in calls]

    names = [f"request-{i}" for i in range(12)]
    access = logging.getLogger("service.access")
    seen = []
    monkeypatch.setattr(access, "log", lambda *_, **__: seen.append(request_id.get()))
    with caplog.at_level(logging.INFO, "service.access"):
        assert client.portal.call(many) == names
    assert sorted(seen) == sorted(names)
