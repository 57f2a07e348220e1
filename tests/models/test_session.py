import logging
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from onnx import numpy_helper
from scipy.special import softmax

from models import (
    Classifier,
    GraphInput,
    GraphOutput,
    Manifest,
    ManifestError,
    ProviderError,
    Scaling,
    available_cpus,
    probabilities,
    session,
)

MANIFEST = Manifest(name="any", scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)))


def batch_of(size, layout="NCHW"):
    shape = (size, 3, 16, 16) if layout == "NCHW" else (size, 16, 16, 3)
    return np.random.default_rng(size).standard_normal(shape, dtype=np.float32)


@pytest.fixture
def load(tiny_manifest, tiny_graph):
    """A function that loads a tiny classifier."""

    def make(*, layout="NCHW", **options):
        options = {"device": "cpu", **options}
        return Classifier(tiny_manifest(layout=layout), tiny_graph(layout=layout), **options)

    return make


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("size", [1, 2, 7])
def test_scores(load, tiny_graph, layout, size):
    weights = next(
        numpy_helper.to_array(w)
        for w in onnx.load_model_from_string(tiny_graph()).graph.initializer
        if w.name == "weights"
    )
    batch = batch_of(size, layout)
    scores = load(layout=layout).run(batch)
    means = batch.mean(axis=(2, 3) if layout == "NCHW" else (1, 2))
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, means @ weights, atol=1e-6)


def test_a_batch_that_is_a_view(load):
    batch = batch_of(4)
    np.testing.assert_array_equal(load().run(batch[::2]), load().run(batch[::2].copy()))


@pytest.mark.parametrize(
    "batch",
    [
        batch_of(1).astype(np.float64),
        batch_of(1)[0],
        batch_of(1)[:, :2],
        batch_of(1, "NHWC"),
        batch_of(1)[:0],
        np.float32(1).reshape(()),
    ],
    ids=["float64", "3-D", "2 channels", "NHWC", "empty", "scalar"],
)
def test_an_array_that_is_not_a_batch_is_refused(load, batch):
    with pytest.raises(ValueError, match=r"takes a batch of float32 images of shape \(3, 16, 16\)"):
        load().run(batch)


def test_threads_may_share_a_classifier(load):
    classifier = load(threads=1)
    batches = [batch_of(size) for size in range(1, 9)] * 10
    expected = [classifier.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for scores, reference in zip(pool.map(classifier.run, batches), expected, strict=True):
            np.testing.assert_array_equal(scores, reference)


def test_warm_up(load, monkeypatch):
    classifier = load()
    sizes = []
    monkeypatch.setattr(classifier, "run", lambda batch: sizes.append(batch.shape))
    classifier.warm_up(range(1, 4))
    assert sizes == [(1, 3, 16, 16), (2, 3, 16, 16), (3, 3, 16, 16)]


def test_the_options_of_the_session(load, machine):
    def options(**given):
        load(**given)
        used = FakeSession.options
        spinning = used.get_session_config_entry("session.intra_op.allow_spinning")
        return used.intra_op_num_threads, used.inter_op_num_threads, spinning

    machine()
    assert options() == (available_cpus(), 1, "0")
    assert options(threads=3, spinning=True) == (3, 1, "1")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input": GraphInput(name="x", height_px=16, width_px=16)}, "one input 'x'.*'input'"),
        ({"input": GraphInput(height_px=16, width_px=17)}, r"16, 17.*16, 16"),
        ({"output": GraphOutput(name="scores")}, r"output 'scores'.*'logits'"),
    ],
)
def test_a_manifest_of_another_graph(tiny_manifest, tiny_graph, change, message):
    manifest = tiny_manifest().model_copy(update=change)
    with pytest.raises(ManifestError, match=message):
        Classifier(manifest, tiny_graph(), device="cpu")


def test_not_a_graph(tiny_manifest):
    with pytest.raises(ManifestError, match="cannot load the graph of 'tiny'"):
        Classifier(tiny_manifest(), b"not a graph", device="cpu")


class FakeSession:
    """Behaves like ONNX Runtime if only some providers work: it uses the next one silently."""

    working = ("CPUExecutionProvider",)
    asked = None
    options = None

    def __init__(self, graph_bytes, options, providers):
        FakeSession.asked, FakeSession.options = dict(providers), options
        self.real = REAL(graph_bytes, options, providers=["CPUExecutionProvider"])

    def get_providers(self):
        return [name for name in self.asked if name in self.working]

    def __getattr__(self, name):
        return getattr(self.real, name)


REAL = onnxruntime.InferenceSession


@pytest.fixture
def machine(monkeypatch):
    """A function that makes this machine pretend to have some providers."""

    def make(*working, driver=True):
        monkeypatch.setattr(FakeSession, "working", (*working, "CPUExecutionProvider"))
        monkeypatch.setattr(onnxruntime, "InferenceSession", FakeSession)
        monkeypatch.setattr(session, "has_cuda", lambda: driver)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)

    return make


def test_auto_uses_cuda_if_it_works(load, machine, caplog):
    caplog.set_level(logging.INFO)
    machine("CUDAExecutionProvider")
    assert load(device="auto").provider == "CUDAExecutionProvider"
    assert list(FakeSession.asked) == ["CUDAExecutionProvider", "CPUExecutionProvider"]
    assert FakeSession.asked["CUDAExecutionProvider"] == {"cudnn_conv_algo_search": "HEURISTIC"}
    assert "tiny runs on CUDAExecutionProvider; auto was asked for" in caplog.text


def test_auto_warns_of_a_gpu_that_does_not_work(load, machine, caplog):
    machine()
    assert load(device="auto").provider == "CPUExecutionProvider"
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_auto_without_a_gpu_does_not_try_one(load, machine):
    machine(driver=False)
    assert load(device="auto").provider == "CPUExecutionProvider"
    assert list(FakeSession.asked) == ["CPUExecutionProvider"]


@pytest.mark.parametrize("device", ["cuda", "tensorrt"])
def test_a_device_that_is_not_used_is_an_error(load, machine, device):
    machine(driver=False)
    with pytest.raises(ProviderError) as caught:
        load(device=device)
    for part in (f"'{device}'", "ExecutionProvider, but", "uses CPUExecutionProvider", "'auto'"):
        assert part in str(caught.value)


def test_tensorrt_is_not_silently_cuda(load, machine):
    machine("CUDAExecutionProvider")
    with pytest.raises(ProviderError, match="uses CUDAExecutionProvider"):
        load(device="tensorrt")
    machine("CUDAExecutionProvider", "TensorrtExecutionProvider")
    assert load(device="tensorrt").provider == "TensorrtExecutionProvider"


def test_auto_is_silent_and_right_on_this_machine(load, capfd):
    expected = "CUDAExecutionProvider" if session.has_cuda() else "CPUExecutionProvider"
    assert load(device="auto").provider == expected
    if expected == "CPUExecutionProvider":
        assert capfd.readouterr() == ("", "")


@pytest.mark.skipif(session.has_cuda(), reason="this machine has a GPU")
def test_cuda_without_a_gpu_is_an_error(load):
    with pytest.raises(ProviderError, match="nvidia-smi"):
        load(device="cuda")


@given(
    arrays(
        np.float32, array_shapes(min_dims=2, max_dims=2), elements=st.floats(-1e4, 1e4, width=32)
    )
)
def test_probabilities(scores):
    given = probabilities(scores, MANIFEST)
    assert given.dtype == np.float32
    assert given.shape == scores.shape
    np.testing.assert_allclose(given, softmax(scores.astype(np.float64), axis=1), atol=1e-7)
    np.testing.assert_allclose(given.sum(axis=1, dtype=np.float64), 1.0, atol=1e-6)


def test_scores_that_are_probabilities_are_returned_unchanged():
    scores = np.array([[0.25, 0.75]], np.float32)
    manifest = MANIFEST.model_copy(update={"output": GraphOutput(kind="probabilities")})
    assert probabilities(scores, manifest) is scores


def test_onnx_runtime_sends_no_telemetry(tmp_path):
    """Telemetry would leave a device id and a database in the cache folder."""
    environment = {k: v for k, v in os.environ.items() if k != "ORT_DISABLE_TELEMETRY"}
    environment |= {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path)}
    program = (
        "import os, models; from pathlib import Path;"
        "models.Classifier(*models.ensure(models.Store(), models.EMBEDDED), device='cpu');"
        "print(os.environ['ORT_DISABLE_TELEMETRY'])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"
    assert not [path for path in tmp_path.rglob("*") if "onnxruntime" in path.name.lower()]
