import numpy as np
import pytest

from models import Classifier, PrecisionError, choose, quantize
from models.int8 import variant
from models.manifest import Speed

FAST, SLOW = Speed(fp32_ms=25.0, int8_ms=11.0), Speed(fp32_ms=11.0, int8_ms=25.0)


@pytest.fixture
def store(fresh_store, network, small):
    fresh_store.put(small, network.SerializeToString())
    return fresh_store


@pytest.fixture
def fast(monkeypatch):
    monkeypatch.setattr(variant, "measure", lambda *_: FAST)


def split(tensors):
    return list(tensors[::2]), list(tensors[1::2])


def test_a_model_is_quantised_beside_fp32(store, fast, tensors, network):
    steps = []
    verdict = quantize(
        store, "small", *split(tensors), None, source="mine",
        on_progress=lambda *step: steps.append(step),
    )  # fmt: skip
    assert verdict.images == 30
    assert verdict.agreed >= 29
    assert verdict.problems == ()
    assert {step[0] for step in steps} == {"calibrating", "comparing"}
    manifest, graph = store.get("small")
    assert graph == network.SerializeToString()
    assert manifest.int8.calibration == "mine"
    chosen = choose(store, "small", "int8")
    assert chosen.manifest.sha256 == manifest.int8.sha256
    scores = Classifier(chosen.manifest, chosen.graph_bytes, device="cpu").run(tensors)
    exact = Classifier(manifest, graph, device="cpu").run(tensors)
    assert np.abs(scores - exact).max() < 0.05 * np.ptp(exact)


def test_labels_are_counted(store, fast, tensors, network, small):
    calibrating, judging = split(tensors)
    exact = Classifier(small, network.SerializeToString(), device="cpu")
    labels = [int(exact.run(image[None]).argmax()) for image in judging]
    verdict = quantize(store, "small", calibrating, judging, labels, source="mine")
    assert verdict.right_fp32 == 30
    assert verdict.right_int8 == verdict.agreed


def test_what_does_not_pay_is_refused_unless_it_is_forced(store, tensors, monkeypatch):
    monkeypatch.setattr(variant, "measure", lambda *_: SLOW)
    before = store.manifest("small")
    with pytest.raises(
        PrecisionError, match=r"does not pay: it takes 25\.0 ms .* 11\.0 ms"
    ) as refusal:
        quantize(store, "small", *split(tensors), None, source="mine")
    assert "--force" in str(refusal.value)
    assert store.manifest("small") == before
    assert quantize(store, "small", *split(tensors), None, source="mine", force=True).problems
    assert store.manifest("small").int8 is not None


def test_a_graph_that_disagrees_is_refused(store, fast, tensors, monkeypatch):
    monkeypatch.setattr(
        variant, "ranges_of", lambda *_: dict.fromkeys(variant.quantized_values(_[0]), (0.0, 0.01))
    )
    with pytest.raises(PrecisionError, match=r"agrees with FP32 on \d+ of 30 images"):
        quantize(store, "small", *split(tensors), None, source="mine")


def test_fewer_right_answers_are_a_problem():
    verdict = variant.Verdict(100, 97, 90, 88, FAST)
    assert verdict.problems == (
        "it gets 88 of 100 images right and FP32 90, and at most 1 fewer are allowed",
    )
    assert not variant.Verdict(100, 97, 90, 89, FAST).problems


def test_what_cannot_be_quantised_is_refused(store, tiny_manifest, tensors, network, small):
    network_again = type(network)()
    network_again.CopyFrom(network)
    network_again.opset_import[0].version = 12
    store.put(small.model_copy(update={"name": "old"}), network_again.SerializeToString())
    with pytest.raises(PrecisionError, match="version 12, and INT8 needs 13"):
        quantize(store, "old", *split(tensors), None, source="mine")
    quantize(store, "small", *split(tensors), None, source="mine", force=True)
    manifest, graph = store.get("small", int8=True)
    store.put(manifest.model_copy(update={"name": "whole", "int8": None}), graph)
    with pytest.raises(PrecisionError, match="quantised already"):
        quantize(store, "whole", *split(tensors), None, source="mine")
