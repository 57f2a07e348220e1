"""The client of an endpoint: with a real server, and with answers that one rarely gives."""

import io
import json

import httpx2
import numpy as np
import pytest
from PIL import Image

from harness import endpoint as module
from harness.dataset import Dataset
from harness.endpoint import HttpTarget
from harness.errors import EndpointError
from models import Store, ensure, fit

MODEL = {"name": "m", "sha256": "ab", "input": {"height_px": 8, "width_px": 8}}
FD = {"step": 30, "corner_step": 25, "corner_size": 4, "phase": 0, "passes": 1}
DEFENSES = {
    "default": "fd",
    "defenses": [
        {"name": "fd", "operations": [{"name": "fd", "parameters": FD}]},
        {"name": "none", "operations": []},
    ],
}


def transport(answer=None, models=MODEL, defenses=DEFENSES):
    def handle(request):
        if request.url.path == "/v1/models":
            return httpx2.Response(200, json={"models": [models]})
        if request.url.path == "/v1/defenses":
            return httpx2.Response(200, json=defenses)
        return answer(request)

    return httpx2.MockTransport(handle)


def target(answer=None, defense=None, protocol="v2", **described):
    return HttpTarget(
        "http://endpoint/",
        defense=defense,
        protocol=protocol,
        transport=transport(answer, **described),
    )


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


class TestAnswers:
    image = np.zeros((8, 8, 3), np.uint8)

    def test_posts_pixels_without_loss(self):
        noise = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
        seen = []

        def answer(request):
            seen.append(np.asarray(Image.open(io.BytesIO(request.content))))
            return httpx2.Response(200, json={"predictions": [{"index": 3}]})

        assert target(answer, protocol="v1").classes([noise]).tolist() == [3]
        np.testing.assert_array_equal(seen[0], noise)

    @pytest.mark.parametrize(
        ("retry_after", "wait_s"),
        [
            ("2", 2.0),
            (None, 1.0),
            ("0", 0.05),
            ("3600", 5.0),
            ("Sun, 06 Nov 1994 08:49:37 GMT", 1.0),
        ],
    )
    def test_waits_while_the_endpoint_is_busy(self, retry_after, wait_s, monkeypatch):
        waits = []
        monkeypatch.setattr(module.time, "sleep", waits.append)
        replies = [429, 503, 200]

        def answer(request):
            status = replies.pop(0)
            body = {"predictions": [{"index": 7}]}
            headers = {} if retry_after is None else {"Retry-After": retry_after}
            return httpx2.Response(status, json=body, headers=headers)

        endpoint = target(answer, protocol="v1")
        assert endpoint.classes([self.image]).tolist() == [7]
        assert waits == [wait_s, wait_s]
        assert endpoint.queries == 1

    def test_reads_the_class_if_a_server_returns_nothing_else(self):
        def answer(request):
            outputs = [
                {"name": "label", "datatype": "BYTES", "shape": [1]},
                {"name": "index", "datatype": "INT64", "shape": [1]},
            ]
            label, index = b"\x03\x00\x00\x00dog", np.array([5], np.int64).tobytes()
            for output, raw in zip(outputs, (label, index), strict=True):
                output["parameters"] = {"binary_data_size": len(raw)}
            head = json.dumps({"outputs": outputs}).encode()
            length = {"Inference-Header-Content-Length": str(len(head))}
            return httpx2.Response(200, content=head + label + index, headers=length)

        assert target(answer).classes([self.image]).tolist() == [5]

    def test_reports_that_an_attack_needs_all_probabilities(self):
        def answer(request):
            return httpx2.Response(200, json={"predictions": [{"index": 1}]})

        with pytest.raises(EndpointError, match="returns only the most probable class"):
            target(answer, protocol="v1").probabilities([self.image])

    def test_reports_a_refused_request(self):
        def answer(request):
            return httpx2.Response(401, json={"error": "no key"})

        with pytest.raises(EndpointError, match=r"answered 401.*no key"):
            target(answer).classes([self.image])

    def test_reports_an_endpoint_that_cannot_be_reached(self):
        with pytest.raises(EndpointError, match=r"http://127.0.0.1:9 cannot be reached"):
            HttpTarget("http://127.0.0.1:9")

    def test_refuses_float_pixels_over_v1(self):
        with pytest.raises(EndpointError, match="need --protocol v2"):
            target(protocol="v1").classes([self.image.astype(np.float32)])

    def test_sends_the_key(self):
        def handle(request):
            assert request.headers["Authorization"] == "Bearer secret"
            body = {"models": [MODEL]} if request.url.path == "/v1/models" else DEFENSES
            return httpx2.Response(200, json=body)

        HttpTarget("http://endpoint", api_key="secret", transport=httpx2.MockTransport(handle))


class TestDescription:
    def test_of_a_different_service_is_refused(self):
        with pytest.raises(EndpointError, match="does not describe itself"):
            target(models={"name": "m"})

    def test_with_different_parameters_of_a_defence_is_refused(self):
        other = json.loads(json.dumps(DEFENSES))
        other["defenses"][0]["operations"][0]["parameters"]["step"] = 20
        with pytest.raises(EndpointError, match="the version that is served"):
            target(defenses=other)

    def test_lists_the_allowed_defences_for_an_unknown_one(self):
        with pytest.raises(
            EndpointError, match=r"Unknown defence 'magic'.* http://endpoint allows fd, none\.$"
        ):
            target(defense="magic")

    def test_does_not_contain_a_password(self):
        with HttpTarget("http://u:p@endpoint:1/", transport=transport()) as endpoint:
            assert endpoint.public_url == "http://endpoint:1"

    def test_has_the_chosen_defence_if_it_is_allowed(self):
        assert target(defense=" none ").description.pipeline.operations == ()
