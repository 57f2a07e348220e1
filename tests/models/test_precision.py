import hashlib

import pytest

from models import Classifier, PrecisionError, Store, StoreError, choose, expected, precision
from models.manifest import Int8, Speed

FAST, SLOW = Speed(fp32_ms=25.0, int8_ms=11.0), Speed(fp32_ms=25.0, int8_ms=24.0)


@pytest.fixture
def processor(monkeypatch):
    """A processor that has the instructions, and no GPU."""
    monkeypatch.setattr(precision, "int8_instructions", lambda: "AVX-512 VNNI")
    monkeypatch.setattr(precision, "processor_name", lambda: "Some CPU")
    monkeypatch.setattr(precision, "has_cuda", lambda: False)


@pytest.fixture
def measured(monkeypatch):
    """Sets what a measurement finds; the list has an entry for each measurement."""
    calls = []

    def find(speed):
        monkeypatch.setattr(precision, "measure", lambda *_: calls.append(speed) or speed)
        return calls

    return find


@pytest.fixture
def store(fresh_store, tiny_graph, tiny_manifest):
    """A store with two models: one that has a graph in INT8, and one that has not."""
    int8_bytes = tiny_graph(1)
    int8 = Int8(sha256=hashlib.sha256(int8_bytes).hexdigest())
    fresh_store.put(tiny_manifest("both", int8=int8), tiny_graph(0), int8_bytes)
    fresh_store.put(tiny_manifest("single"), tiny_graph(0))
    return fresh_store


def test_auto_takes_fp32_without_the_instructions_and_measures_nothing(
    store, processor, measured, monkeypatch
):
    monkeypatch.setattr(precision, "int8_instructions", lambda: None)
    calls = measured(FAST)
    chosen = choose(store, "both")
    assert chosen.manifest.precision == "fp32"
    assert chosen.reason == (
        "Some CPU has neither AMX, AVX-512 VNNI, AVX-VNNI nor ARM's dot product"
    )
    assert expected(store.manifest("both")) == ("fp32", chosen.reason)
    assert calls == []


def test_auto_measures_once_and_takes_what_is_faster(store, processor, measured, tiny_graph):
    calls = measured(FAST)
    assert expected(store.manifest("both"))[0] == ""
    for _ in range(2):
        chosen = choose(store, "both")
        assert chosen.manifest.precision == "int8"
        assert chosen.graph_bytes == tiny_graph(1)
        assert chosen.manifest.sha256 == hashlib.sha256(tiny_graph(1)).hexdigest()
        assert chosen.reason == (
            "INT8 took 11.0 ms for an image and FP32 25.0 ms on one thread of Some CPU"
        )
    assert calls == [FAST]
    assert expected(store.manifest("both")) == ("int8", chosen.reason)
    assert store.manifest("both").int8.speed == {"Some CPU": FAST}


def test_auto_takes_fp32_where_int8_is_hardly_faster(store, processor, measured):
    measured(SLOW)
    assert choose(store, "both").manifest.precision == "fp32"


def test_another_processor_is_measured_again(store, processor, measured, monkeypatch):
    calls = measured(FAST)
    choose(store, "both")
    monkeypatch.setattr(precision, "processor_name", lambda: "Another CPU")
    choose(store, "both")
    assert len(calls) == 2
    assert set(store.manifest("both").int8.speed) == {"Some CPU", "Another CPU"}


def test_a_store_that_cannot_be_written_is_served_all_the_same(
    store, processor, measured, monkeypatch, caplog
):
    def fail(*_):
        raise StoreError("The store is read-only.")

    measured(FAST)
    monkeypatch.setattr(Store, "note_speed", fail)
    assert choose(store, "both").manifest.precision == "int8"
    assert "measured again at the next start. The store is read-only." in caplog.text


def test_a_gpu_runs_fp32(store, processor, measured, monkeypatch):
    measured(FAST)
    assert choose(store, "both", device="cuda").reason == "INT8 is for the CPU only"
    monkeypatch.setattr(precision, "has_cuda", lambda: True)
    assert choose(store, "both").manifest.precision == "fp32"
    assert choose(store, "both", device="cpu").manifest.precision == "int8"
    with pytest.raises(PrecisionError, match="'cuda' does not run graphs in INT8"):
        choose(store, "both", "int8", "cuda")


def test_int8_is_served_where_it_is_asked_for(store, processor, monkeypatch):
    monkeypatch.setattr(precision, "int8_instructions", lambda: None)
    chosen = choose(store, "both", "int8")
    assert (chosen.manifest.precision, chosen.reason) == ("int8", "INT8 was asked for")
    assert choose(store, "both", "fp32").manifest.precision == "fp32"


def test_a_model_without_int8_runs_in_fp32(store, processor):
    assert choose(store, "single").reason == "the store has no graph in INT8"
    with pytest.raises(PrecisionError, match="Run `warpguard models quantize single --data DIR`"):
        choose(store, "single", "int8")


def test_a_graph_that_was_added_in_int8_has_no_other(store, processor, tiny_graph, tiny_manifest):
    store.put(tiny_manifest("own", precision="int8"), tiny_graph())
    assert choose(store, "own").reason == "the model's own graph is in INT8"
    assert expected(store.manifest("own"))[0] == "int8"
    with pytest.raises(PrecisionError, match="added in INT8"):
        choose(store, "own", "fp32")


def test_a_measurement_runs_both_graphs(tiny_graph, tiny_manifest):
    classifier = Classifier(tiny_manifest(), tiny_graph(), device="cpu", threads=1)
    speed = precision.measure(classifier, classifier, for_s=0.0)
    assert speed.fp32_ms > 0
    assert speed.int8_ms > 0
    assert precision.pays(FAST)
    assert not precision.pays(SLOW)
