"""Posting images to an endpoint: to a real server, and to one that answers otherwise."""

import io
import json

import httpx2
import numpy as np
import pytest
from PIL import Image

from harness.dataset import Dataset
from harness.endpoint import HttpTarget
from harness.errors import EndpointError
from models import Store, ensure, fit

IMAGE = np.zeros((8, 8, 3), np.uint8)


@pytest.fixture(scope="module")
def photographs():
    manifest, _ = ensure(Store(), "efficientnet-lite2")
    return [
        (
            np.ascontiguousarray(fit(np.asarray(Image.open(each.path).convert("RGB")), manifest)),
            each,
        )
        for each in Dataset.demo().photographs[2:4]
    ]


class TestARealServer:
    @pytest.mark.parametrize("protocol", ["v1", "v2"])
    def test_classifies_behind_the_defence(self, server, photographs, protocol):
        images = [image for image, _ in photographs]
        with HttpTarget(server, protocol=protocol) as endpoint:
            assert endpoint.description.defense == "fd+rdg"
            assert endpoint.description.height_px == 299
            answers = np.array([endpoint.classes(images) for _ in range(5)])
            assert endpoint.queries == 10
            endpoint.confirm()
        right = answers == [each.label for _, each in photographs]
        assert right.mean() >= 0.7

    @pytest.mark.parametrize("protocol", ["v1", "v2"])
    def test_returns_probabilities_of_fresh_draws(self, server, photographs, protocol):
        image = photographs[0][0]
        with HttpTarget(server, protocol=protocol) as endpoint:
            first, second = endpoint.probabilities([image, image], draws=2)
        assert first.shape == (1000,)
        assert first.sum() == pytest.approx(1, abs=1e-4)
        assert not np.array_equal(first, second)

    def test_posts_images_without_rounding(self, server, photographs):
        image = photographs[0][0].astype(np.float32) / 255
        with HttpTarget(server) as endpoint:
            assert endpoint.classes([image]).shape == (1,)

    def test_names_the_allowed_defences(self, server):
        with pytest.raises(EndpointError, match=r"only fd\+rdg.*--allow-defense 'fd'"):
            HttpTarget(server, defense="fd")


@pytest.mark.parametrize("protocol", ["v1", "v2"])
@pytest.mark.parametrize("detail", ["label", "top1"])
def test_a_server_that_hides_probabilities_is_asked_for_the_class(
    serve, photographs, detail, protocol
):
    service, _ = serve("--response-detail", detail, "--defense", "none")
    images = [image for image, _ in photographs]
    with HttpTarget(service.url, protocol=protocol) as endpoint:
        assert endpoint.classes(images).tolist() == [each.label for _, each in photographs]
        with pytest.raises(EndpointError, match="returns only the most probable class"):
            endpoint.probabilities(images)


def test_pixels_are_posted_without_loss(fake):
    noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    seen = []

    def answer(request):
        seen.append(np.asarray(Image.open(io.BytesIO(request.content))))
        return httpx2.Response(200, json={"predictions": [{"index": 3}]})

    fake.answer = answer
    assert fake.target(protocol="v1").classes([noise]).tolist() == [3]
    np.testing.assert_array_equal(seen[0], noise)


def test_float_pixels_are_refused_over_v1(fake):
    with pytest.raises(EndpointError, match="need --protocol v2"):
        fake.target(protocol="v1").classes([IMAGE.astype(np.float32)])


def test_more_classes_than_v1_names_are_refused(fake):
    fake.model["classes"] = 1001
    with pytest.raises(EndpointError, match=r"1000 classes at the most.* Use --protocol v2"):
        fake.target(protocol="v1").probabilities([IMAGE])


def test_the_key_and_further_headers_are_sent(fake):
    seen = []
    fake.answer = lambda request: seen.append(request.headers) or fake.probabilities(1, 0, 0, 0)
    target = fake.target(api_key="secret", headers=[("X-Team", "red")])
    assert target.classes([IMAGE]).tolist() == [0]
    assert (seen[0]["Authorization"], seen[0]["X-Team"]) == ("Bearer secret", "red")


def test_the_name_of_the_model_cannot_change_the_path(fake):
    paths = []
    fake.model["name"] = "../\x1b[31m?a#b"
    fake.answer = lambda request: (
        paths.append(request.url.raw_path) or fake.probabilities(1, 0, 0, 0)
    )
    fake.target().classes([IMAGE])
    assert paths == [b"/v2/models/..%2F%1B%5B31m%3Fa%23b/infer"]


class TestConfirmation:
    @pytest.mark.parametrize(
        ("field", "value"), [("sha256", "cd" * 32), ("name", "other"), ("classes", 5)]
    )
    def test_fails_after_the_model_changed(self, fake, field, value):
        target = fake.target()
        target.classes([IMAGE])
        target.confirm()
        fake.model[field] = value
        target.confirm()  # nothing was posted since
        target.classes([IMAGE]) if field != "classes" else target._post("/v1/predict", b"")
        with pytest.raises(EndpointError, match=f"serves something else.*{value}"):
            target.confirm()

    def test_is_asked_for_during_a_long_round(self, fake, monkeypatch):
        target = fake.target()
        target.classes([IMAGE])
        fake.model["sha256"] = "cd" * 32
        target.classes([IMAGE])
        monkeypatch.setattr("harness.endpoint.target.CONFIRM_EVERY_S", 0)
        for method in (target.classes, target.probabilities):
            with pytest.raises(EndpointError, match="serves something else"):
                method([IMAGE])

    def test_fails_after_the_defence_changed(self, fake):
        target = fake.target()
        target.classes([IMAGE])
        fake.defenses["defenses"][0]["operations"][0]["parameters"]["step"] = 20
        with pytest.raises(EndpointError, match="the version that is served"):
            target.confirm()


def test_a_tensor_follows_the_json_of_a_request(fake):
    seen = []

    def answer(request):
        length = int(request.headers["Inference-Header-Content-Length"])
        seen.append((json.loads(request.content[:length]), request.content[length:]))
        return fake.probabilities(0, 1, 0, 0)

    fake.answer = answer
    assert fake.target().classes([IMAGE]).tolist() == [1]
    ((head, raw),) = seen
    assert raw == IMAGE.tobytes()
    assert head["outputs"] == [{"name": "probabilities"}]
    assert head["parameters"] == {"binary_data_output": True, "defense": "fd", "draws": 1}
