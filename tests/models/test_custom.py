import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import ManifestError, add, ensure


@pytest.fixture
def onnx_file(tmp_path, tiny_graph):
    """A function that makes an ONNX file."""

    def make(*args, **kwargs):
        path = tmp_path / "mine.onnx"
        path.write_bytes(tiny_graph(*args, **kwargs))
        return path

    return make


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("kind", ["logits", "probabilities"])
def test_add(fresh_store, onnx_file, tiny_manifest, layout, kind):
    path = onnx_file(layout=layout, softmax=kind == "probabilities")
    manifest = tiny_manifest("anything", layout=layout, kind=kind, recipe="efficientnet-lite/1")
    stored = add(fresh_store, "mine", path, manifest)
    assert (stored.name, stored.recipe) == ("mine", None)
    assert ensure(fresh_store, "mine") == (stored, path.read_bytes())


@pytest.mark.parametrize("name", ["efficientnet-lite2", "inception-v3-tf", "auto"])
def test_reserved_names(fresh_store, onnx_file, tiny_manifest, name):
    with pytest.raises(ManifestError, match="Choose another"):
        add(fresh_store, name, onnx_file(), tiny_manifest())


@pytest.mark.parametrize("name", ["../up", "Mine", ""])
def test_names_that_are_not_valid(fresh_store, onnx_file, tiny_manifest, name):
    with pytest.raises(ManifestError, match="name"):
        add(fresh_store, name, onnx_file(), tiny_manifest())


@pytest.mark.parametrize(
    ("graph", "declared", "parts"),
    [
        ({"classes": 4}, {}, ["(batch, labels) = (1, 5)", "(1, 4)"]),
        ({"layout": "NHWC"}, {}, ["('batch', 3, 16, 16) (NCHW", "('batch', 16, 16, 3)"]),
        ({"batch": 1}, {}, ["any batch size", "(1, 3, 16, 16)"]),
        ({"softmax": True}, {}, ["declared to be logits", "are positive with a sum of 1"]),
        ({}, {"kind": "probabilities"}, ["declared to be probabilities", "are not"]),
    ],
)
def test_a_manifest_that_the_graph_contradicts(
    fresh_store, onnx_file, tiny_manifest, graph, declared, parts
):
    with pytest.raises(ManifestError) as caught:
        add(fresh_store, "mine", onnx_file(**graph), tiny_manifest(**declared))
    for part in parts:
        assert part in str(caught.value)
    assert fresh_store.names() == ()


def test_scores_that_are_not_finite(fresh_store, tmp_path, tiny_graph, tiny_manifest):
    model = onnx.load_model_from_string(tiny_graph())
    weights = next(w for w in model.graph.initializer if w.name == "weights")
    weights.CopyFrom(numpy_helper.from_array(np.full((3, 5), np.nan, np.float32), "weights"))
    (tmp_path / "nan.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ManifestError, match=r"should be finite.*nan"):
        add(fresh_store, "mine", tmp_path / "nan.onnx", tiny_manifest())


def test_a_graph_that_fails_on_some_batch_sizes(fresh_store, tmp_path, tiny_graph, tiny_manifest):
    model = onnx.load_model_from_string(tiny_graph())
    graph = model.graph
    graph.node[1].output[0] = "scores"
    graph.node.append(helper.make_node("Reshape", ["scores", "one"], ["logits"]))
    graph.initializer.append(numpy_helper.from_array(np.array([1, 5], np.int64), "one"))
    (tmp_path / "one.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ManifestError, match="fails on a batch of 2"):
        add(fresh_store, "mine", tmp_path / "one.onnx", tiny_manifest())


def test_weights_in_another_file(fresh_store, tmp_path, tiny_graph, tiny_manifest):
    path = tmp_path / "mine.onnx"
    model = onnx.load_model_from_string(tiny_graph())
    onnx.save(model, path, save_as_external_data=True, size_threshold=0, location="weights.bin")
    with pytest.raises(ManifestError, match=r"keeps the weights .* in another file"):
        add(fresh_store, "mine", path, tiny_manifest())


def test_weights_of_a_branch_in_another_file(fresh_store, tmp_path, tiny_graph, tiny_manifest):
    outside = TensorProto(
        name="outside", data_type=TensorProto.FLOAT, dims=[5], data_location=TensorProto.EXTERNAL
    )
    outside.external_data.add(key="location", value="/etc/passwd")
    branch = helper.make_graph(
        [helper.make_node("Constant", [], ["x"], value=outside)],
        "branch",
        [],
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [5])],
    )
    model = onnx.load_model_from_string(tiny_graph())
    model.graph.node.append(
        helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    )
    (tmp_path / "branch.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ManifestError, match="keeps the weights 'outside'"):
        add(fresh_store, "mine", tmp_path / "branch.onnx", tiny_manifest())


def test_no_file(fresh_store, tmp_path, tiny_manifest):
    with pytest.raises(ManifestError, match="cannot be read"):
        add(fresh_store, "mine", tmp_path / "none.onnx", tiny_manifest())


@pytest.mark.parametrize("content", [b"\x08", b"not a graph", b""])
def test_not_onnx(fresh_store, tmp_path, tiny_manifest, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ManifestError):
        add(fresh_store, "mine", tmp_path / "x.onnx", tiny_manifest())
