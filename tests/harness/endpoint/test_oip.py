"""Any server of the Open Inference Protocol under attack; runs/test_kserve.py has a real one."""

import json

import httpx2
import numpy as np
import pytest

from harness.dataset import Dataset
from harness.endpoint import OipTarget
from harness.errors import EndpointError, HiddenProbabilitiesError
from models import GraphInput, GraphOutput, Manifest, Scaling, Store, ensure

IMAGE = np.zeros((8, 8, 3), np.uint8)
MANIFEST = Manifest(
    name="mine",
    input=GraphInput(height_px=8, width_px=8),
    output=GraphOutput(name="scores"),
    scaling=Scaling(mean=(127.5,) * 3, std=(127.5,) * 3),
    labels=("a", "b", "c", "d"),
)


def scores(*values):
    """An answer in JSON, as KServe's and MLServer's servers send it."""
    output = {"name": "scores", "datatype": "FP32", "shape": [1, len(values)], "data": [*values]}
    return httpx2.Response(200, json={"model_name": "m", "outputs": [output]})


def test_what_is_known_of_it_is_described(fake):
    fake.metadata["versions"] = ["1", "7"]
    found = fake.oip(defense=" fd+rdg ").description
    assert (found.model, found.version, found.model_sha256) == ("m", "1, 7", None)
    assert (found.defense, found.defense_assumed) == ("fd+rdg", True)
    assert (found.height_px, found.width_px, found.classes) == (8, 8, 4)
    assert found.form == "UINT8 NHWC of 8x8 px; probabilities in 'probabilities'"
    assert fake.oip().description.defense == "none"


def test_scores_are_logits_if_the_manifest_says_so(fake):
    fake.outputs, fake.answer = (), lambda _: scores(0, 0, np.log(2), 0)
    target = fake.oip(manifest=MANIFEST)
    np.testing.assert_allclose(target.probabilities([IMAGE]), [[0.2, 0.2, 0.4, 0.2]], rtol=1e-6)
    assert target.classes([IMAGE]).tolist() == [2]
    assert target.manifest.label_names == ("a", "b", "c", "d")
    with pytest.raises(EndpointError, match="are not probabilities: if they are logits"):
        fake.oip()


def test_each_draw_is_a_post_and_the_mean_is_returned(fake):
    target = fake.oip()
    rows = iter([(1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (1, 0, 0, 0)])
    fake.answer = lambda _: fake.probabilities(*next(rows))
    np.testing.assert_allclose(target.probabilities([IMAGE], draws=4), [[0.5, 0.25, 0.25, 0]])
    assert target.queries == 5  # one of them was grey


def test_a_version_and_a_prefix_belong_to_the_path(fake):
    seen = []
    fake.answer = lambda request: seen.append(str(request.url)) or fake.probabilities(1, 0, 0, 0)
    fake.server = {}
    target = fake.oip("http://u:p@endpoint/gateway/v2/models/m%20x/versions/3/")
    assert target.description.model == "m x"
    assert target.description.version == "3"
    assert target.url == "http://endpoint/gateway/v2/models/m%20x/versions/3"
    assert seen == ["http://u:p@endpoint/gateway/v2/models/m%20x/versions/3/infer"]


@pytest.mark.parametrize(
    "path", ["", "/v2", "/v2/models", "/v2/models/", "/v1/models/m", "/v2/models/m?x"]
)
def test_an_address_without_a_model_is_refused(fake, path):
    with pytest.raises(EndpointError, match=r"^http://endpoint\S* is not the address of a model"):
        fake.oip(f"http://u:secret@endpoint{path}")


def test_a_server_whose_own_description_is_hidden_gets_json(fake):
    seen = []
    fake.server = None
    fake.answer = lambda request: seen.append(request.content) or scores(0.1, 0.2, 0.3, 0.4)
    fake.outputs = ("scores",)
    assert fake.oip().classes([IMAGE]).tolist() == [3]
    assert json.loads(seen[0])["inputs"][0]["data"][:3] == [128, 128, 128]


def test_an_unknown_defence_is_refused(fake):
    with pytest.raises(EndpointError, match="--assume-defense: Unknown defence 'magic'"):
        fake.oip(defense="magic")


@pytest.mark.parametrize(
    "change",
    [
        {"versions": ["2"]},
        {"platform": "tensorrt_plan"},
        {"inputs": [{"name": "image", "datatype": "UINT8", "shape": [-1, 9, 9, 3]}]},
        {"outputs": [{"name": "other"}]},
    ],
)
def test_a_change_of_the_metadata_is_noticed(fake, change):
    target = fake.oip()
    target.confirm()
    target.classes([IMAGE])
    fake.metadata |= change
    with pytest.raises(EndpointError, match=r"serves something else.*the first model again"):
        target.confirm()


@pytest.mark.parametrize(
    "metadata",
    [
        {"inputs": 3},
        {"inputs": [{"name": ""}]},
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 8, 8, "3"]}]},
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [1] * 99}]},
        {"inputs": [{"name": "x", "datatype": "UINT8", "shape": [-1, 10**30, 8, 3]}]},
        {"inputs": [{"name": "x", "datatype": "U" * 999, "shape": []}]},
        {"versions": ["1" * 999]},
        {"versions": ["1"] * 999},
        {"platform": "\x1b]0;owned\x07" * 99},
        {"inputs": [{"name": "\x1b[31mred", "datatype": "\x1b[31m", "shape": [-1]}]},
        {
            "outputs": [
                {"name": f"\x1b[3{n}m", "datatype": "FP32", "shape": [-1, 4]} for n in (1, 2)
            ]
        },
    ],
)
def test_hostile_metadata_are_refused(fake, metadata):
    fake.metadata |= metadata
    with pytest.raises(EndpointError) as raised:
        fake.oip()
    assert str(raised.value).isprintable()


def test_its_texts_cannot_open_files_or_write_to_the_terminal(fake):
    fake.server = {"name": "\x1b[31m", "extensions": ["binary_tensor_data", "\x1b[31m"]}
    fake.metadata["versions"] = ["\x1b[31m"]
    target = fake.oip()
    target.classes([IMAGE])
    fake.metadata["versions"] = ["\x1b[32m"]
    with pytest.raises(EndpointError) as raised:
        target.confirm()
    assert str(raised.value).isprintable()


@pytest.fixture(scope="module")
def lite2():
    return ensure(Store(), "efficientnet-lite2")[0]


def test_warpguard_itself_is_attacked_as_any_server(server, lite2):
    images = [each.image for each in cases(lite2)]
    url = f"{server}/v2/models/efficientnet-lite2/versions/1"
    with OipTarget(url, manifest=lite2, defense="fd+rdg") as endpoint:
        assert endpoint.description.form.endswith("softmax of 'logits'")
        rows = endpoint.probabilities(images, draws=2)
        endpoint.confirm()
    assert rows.shape == (2, 1000)
    np.testing.assert_allclose(rows.sum(axis=1), 1, atol=1e-5)


def test_a_server_that_names_only_the_class_is_asked_for_it(serve, lite2):
    service, _ = serve("--response-detail", "label", "--defense", "none")
    found = cases(lite2)
    url = f"{service.url}/v2/models/efficientnet-lite2"
    with OipTarget(url, manifest=lite2) as endpoint:
        images = [np.rint(each.image * 255).astype(np.uint8) for each in found]
        assert endpoint.classes(images).tolist() == [each.label for each in found]
        with pytest.raises(HiddenProbabilitiesError):
            endpoint.probabilities(images)


def cases(manifest):
    """Two photographs of the demonstration, at the model's size."""
    names = frozenset(each.file for each in Dataset.demo().photographs[2:4])
    return Dataset.demo().cases(manifest, lambda _: [], None, known=names)
