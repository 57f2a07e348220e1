"""What a request takes of its key's rate."""

import json

import numpy as np
import pytest

from service.auth.key_file import (
    new,
)

PREDICT = "/v1/predict"
INFER = "/v2/models/colours/infer"
IMAGE_ALONE = {"inference-header-content-length": "0"}


def code(answer):
    return answer.json()["error"]["code"]


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
