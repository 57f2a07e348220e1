"""What the routes of every mode have in common: admission by key, and JSON off the event loop."""

import asyncio
import threading

import numpy as np
import pytest

import service.oip.codec
import service.oip.long_json
import service.transformer.v1
from service.auth.client import Client
from service.auth.key_file import new
from service.errors import BusyError

PIXELS = np.zeros((2, 32, 32, 3), int).tolist()
TENSOR = {"name": "x", "datatype": "UINT8", "shape": [2, 32, 32, 3], "data": PIXELS}
V2 = {"inputs": [TENSOR], "parameters": {"draws": 1}}
UPSTREAM = {"predictor_host": "127.0.0.1:9", "model_name": "m"}
"""Nothing listens there, and none of these requests gets so far."""

JSON = {
    "v2": ({}, "/v2/models/colours/infer", V2),
    "v2 to an upstream": (UPSTREAM, "/v2/models/m/infer", V2),
    "v1 to an upstream": (
        {**UPSTREAM, "predictor_protocol": "v1"},
        "/v1/models/m:predict",
        {"instances": PIXELS},
    ),
}
FORM = [("files", ("a.png", b"an image"))]
FILES = {
    "an image": ("/v1/predict?draws=2", {"content": b"an image"}, 2),
    "a form": ("/v1/predict?draws=2", {"files": FORM * 3}, 6),
    "an image to defend": ("/v1/defend", {"content": b"an image"}, 1),
}
WAYS = {name: (options, path, {"json": body}, 2) for name, (options, path, body) in JSON.items()}
WAYS |= {name: ({}, *way) for name, way in FILES.items()}
"""The settings of a server, a path, what is posted there, and how many images these are."""


def begin(start, options, **more):
    return start(wait="predictor_host" not in options, **options, **more)


@pytest.mark.parametrize("limit", ["the line's rate", "the server's rate", "no rate", "no keys"])
@pytest.mark.parametrize("way", WAYS)
def test_images_are_admitted_for_the_client_of_the_request_s_key(
    start, tmp_path, monkeypatch, way, limit
):
    options, path, posted, images = WAYS[way]
    key, line = new("shop", "rate=5" if limit == "the line's rate" else "")
    (tmp_path / "keys.txt").write_text(f"{new('other', 'rate=5')[1]}\n{line}\n")
    given = {} if limit == "no keys" else {"api_keys": tmp_path / "keys.txt"}
    if limit == "the server's rate":
        given["key_rate"] = 7
    client = begin(start, options, **given)
    backend, calls = client.app.state.backend, []

    def admit(images, sender, *, draws=1):
        calls.append((images * draws, sender))
        raise BusyError("this is far enough")

    monkeypatch.setattr(backend, "admit", admit)
    answer = client.post(path, headers={"x-api-key": key}, **posted)
    assert (answer.status_code, calls[1:]) == (429, [])
    ((admitted, sender),) = calls
    assert admitted == images
    assert sender.name == ("testclient" if limit == "no keys" else "shop")
    assert sender.bucket is (backend.keys and backend.keys.find(key).bucket)
    assert (sender.bucket is None) == (limit in ("no rate", "no keys"))


@pytest.mark.parametrize("way", JSON)
def test_json_is_parsed_off_the_event_loop(start, monkeypatch, way):
    options, path, body = JSON[way]
    threads = []

    def recorded(work):
        def run(*arguments, **more):
            threads.append(threading.get_ident())
            return work(*arguments, **more)

        return run

    for module in (service.oip.codec, service.oip.long_json, service.transformer.v1):
        for name in ("from_json", "read"):  # from bytes to lists, and from lists to pixels
            if work := getattr(module, name, None):
                monkeypatch.setattr(module, name, recorded(work))
    client = begin(start, options)
    answer = client.post(path, json=body)
    assert answer.status_code == (503 if options else 200)
    assert len(threads) >= 2
    assert set(threads).isdisjoint({client.portal.call(threading.get_ident)})


def test_the_json_of_each_client_takes_its_turn(client):
    backend, release, order = client.app.state.backend, threading.Event(), []

    def parse(name):
        order.append(name)
        assert release.wait(60)

    async def scenario():
        flood, honest = Client("flood"), Client("honest")
        tasks = [
            asyncio.create_task(backend.read_json(lambda n=sender.name: parse(n), sender))
            for sender in (*[flood] * 5, honest)
        ]
        while not order:
            await asyncio.sleep(0)
        release.set()
        await asyncio.gather(*tasks)

    client.portal.call(scenario)
    assert order == ["flood", "honest", *["flood"] * 4]
