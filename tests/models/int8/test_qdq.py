import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import models
from models import CATALOG
from models.int8.calibrate import calibrate_embedded, ranges_of
from models.int8.qdq import is_quantized, quantized, quantized_values
from models.weights import read_weights

FOLDER = Path(models.__file__).parent / "int8"
EMBEDDED = [name for name, entry in CATALOG.items() if entry.embedded]


@pytest.fixture(scope="module")
def ranges(network, small, tensors):
    return ranges_of(network, small, tensors[:30])


def session_of(model, path=None, *, level="ORT_ENABLE_ALL"):
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.add_session_config_entry("session.x64quantprecision", "1")
    if path is not None:
        options.optimized_model_filepath = str(path)
        options.log_severity_level = 3
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def scores_of(model, tensors, **options):
    return session_of(model, **options).run(None, {"input": tensors})[0]


def test_int8_computes_nearly_the_scores_of_fp32(network, ranges, tensors):
    made = quantized(network, ranges)
    onnx.checker.check_model(made, full_check=True)
    exact, whole = scores_of(network, tensors[30:]), scores_of(made, tensors[30:])
    assert 0 < np.abs(exact - whole).max() < 0.05 * np.ptp(exact)


def test_whole_numbers_give_the_scores_of_the_written_graph(network, ranges, tensors):
    """The kernels add whole numbers exactly; saturated sums would give other scores."""
    made = quantized(network, ranges)
    written = scores_of(made, tensors[30:], level="ORT_DISABLE_ALL")
    assert np.abs(written - scores_of(made, tensors[30:])).max() < 0.02 * np.ptp(written)


def test_onnx_runtime_merges_every_node_into_a_kernel_of_whole_numbers(network, ranges, tmp_path):
    session_of(quantized(network, ranges), tmp_path / "merged.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "merged.onnx").graph.node]
    assert kinds.count("QLinearConv") == 4
    assert "QGemm" in kinds
    assert kinds.count("QuantizeLinear") == 1  # the input
    assert not {"Conv", "Gemm", "Add", "Concat", "Clip", "DequantizeLinear"} & set(kinds)


def test_8_bit_pixels_are_kept_exactly(network, small, tensors):
    low, high = ranges_of(network, small, tensors[:1])["input"]
    pixels = (np.arange(256) - 127) / 128
    steps = np.rint(pixels / ((high - low) / 255)) * ((high - low) / 255)
    assert np.abs(steps - pixels).max() < 1e-6


def test_the_rounding_errors_of_a_channel_cancel_out(network, ranges):
    weights = {each.name: numpy_helper.to_array(each) for each in network.graph.initializer}
    made = {
        each.name: numpy_helper.to_array(each)
        for each in quantized(network, ranges).graph.initializer
    }
    for name in ("stem.weight", "depthwise.weight", "project.weight", "fc.weight"):
        steps, scale = made[f"{name}.quantized"], made[f"{name}.scale"]
        exact = weights[name].reshape(len(scale), -1) / scale[:, None]
        error = steps.reshape(len(scale), -1) - exact
        assert np.abs(error.sum(axis=1)).max() < 0.51
        assert np.abs(error).max() < 1


def test_equal_ranges_give_equal_bytes(network, ranges):
    first, second = (quantized(network, ranges).SerializeToString(deterministic=True) for _ in "ab")
    assert first == second
    assert is_quantized(onnx.load_model_from_string(first))
    assert not is_quantized(network)


def test_a_node_that_is_kept_stays_in_fp32(network, ranges):
    made = quantized(network, ranges, keep=["stem"])
    stem = next(node for node in made.graph.node if node.name == "stem")
    assert list(stem.input) == ["input", "stem.weight", "stem.bias"]
    assert "input" not in quantized_values(network, keep=["stem"])


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_shipped_ranges_give_the_graphs_whose_digests_are_known(name):
    entry = CATALOG[name]
    document = json.loads((FOLDER / f"{name}.json").read_text("utf-8"))
    model = entry.build(read_weights(entry.weights.path, trusted=entry.accepted))
    digest = hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest()
    assert digest == document["fp32_sha256"]
    int8 = hashlib.sha256(entry.build_int8(model).SerializeToString(deterministic=True)).hexdigest()
    assert int8 == document["int8_sha256"] == entry.manifest.int8.sha256


def test_a_script_can_calibrate_an_embedded_model():
    blank = np.zeros((1, 3, 299, 299), np.float32)
    ranges, (fp32, int8) = calibrate_embedded(EMBEDDED[-1], blank)
    document = json.loads((FOLDER / f"{EMBEDDED[-1]}.json").read_text("utf-8"))
    assert fp32 == document["fp32_sha256"]
    assert int8 != document["int8_sha256"]
    assert ranges.keys() == document["ranges"].keys()
