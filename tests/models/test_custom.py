import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from models import ManifestError, Scaling, add, ensure


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
    with pytest.raises(ManifestError, match="fails on a batch of 3"):
        add(fresh_store, "mine", tmp_path / "one.onnx", tiny_manifest())


def graph_of(nodes, values=None, classes=5):
    """Return a file whose nodes lead from the mean colours, ``means``, to ``logits``."""
    weights = np.random.default_rng(0).standard_normal((3, classes)).astype(np.float32)
    values = {"axes": np.array([2, 3]), "weights": weights, **(values or {})}
    graph = helper.make_graph(
        [helper.make_node("ReduceMean", ["input", "axes"], ["means"], keepdims=0), *nodes],
        "means",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", classes])],
        [numpy_helper.from_array(value, name) for name, value in values.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    return model.SerializeToString()


PRODUCT = helper.make_node("MatMul", ["means", "weights"], ["product"])
ONES, ZEROS = np.ones(5, np.float32), np.zeros(5, np.float32)
BATCH_DEPENDENT = {
    "normalisation in training": (  # ONNX Runtime also writes its running mean
        [
            PRODUCT,
            helper.make_node(
                "BatchNormalization",
                ["product", "ones", "zeros", "zeros", "ones"],
                ["logits", "mean", "variance"],
                training_mode=1,
            ),
        ],
        {"ones": ONES, "zeros": ZEROS},
    ),
    "mean over the batch": (
        [
            PRODUCT,
            helper.make_node("ReduceMean", ["product", "first"], ["mean"]),
            helper.make_node("Sub", ["product", "mean"], ["logits"]),
        ],
        {"first": np.array([0])},
    ),
    "softmax over the batch": (
        [PRODUCT, helper.make_node("LogSoftmax", ["product"], ["logits"], axis=0)],
        {},
    ),
}


@pytest.mark.parametrize("kind", BATCH_DEPENDENT)
def test_scores_that_depend_on_the_batch(fresh_store, tmp_path, tiny_manifest, kind):
    (tmp_path / "x.onnx").write_bytes(graph_of(*BATCH_DEPENDENT[kind]))
    with pytest.raises(ManifestError, match=r"model .*in evaluation mode"):
        add(fresh_store, "mine", tmp_path / "x.onnx", tiny_manifest())


def test_scores_that_are_random(fresh_store, tmp_path, tiny_manifest):
    nodes = [
        PRODUCT,
        helper.make_node("RandomNormalLike", ["product"], ["random"]),
        helper.make_node("Add", ["product", "random"], ["logits"]),
    ]
    (tmp_path / "x.onnx").write_bytes(graph_of(nodes))
    with pytest.raises(ManifestError, match="if the same image is run twice"):
        add(fresh_store, "mine", tmp_path / "x.onnx", tiny_manifest())


@pytest.mark.parametrize("kind", ["Log", "Pow"])
def test_preprocessing_in_the_graph_gets_pixels(fresh_store, tmp_path, tiny_manifest, kind):
    """Both are not numbers below 0, where no pixel is if the scaling leaves pixels as they are."""
    first = ["shifted"] if kind == "Log" else ["means", "power"]
    nodes = [
        helper.make_node("Add", ["means", "one"], ["shifted"]),
        helper.make_node(kind, first, ["curved"]),
        helper.make_node("MatMul", ["curved", "weights"], ["logits"]),
    ]
    (tmp_path / "x.onnx").write_bytes(
        graph_of(nodes, {"one": np.float32(1), "power": np.float32(2.2)})
    )
    manifest = tiny_manifest().model_copy(
        update={"scaling": Scaling(mean=(0, 0, 0), std=(255, 255, 255))}
    )
    assert add(fresh_store, "mine", tmp_path / "x.onnx", manifest).name == "mine"


@pytest.mark.parametrize("labels", [("dog",), ("dog", "")])
def test_two_labels_or_more(fresh_store, tmp_path, tiny_manifest, labels):
    nodes = [helper.make_node("MatMul", ["means", "weights"], ["logits"])]
    (tmp_path / "x.onnx").write_bytes(graph_of(nodes, classes=len(labels)))
    manifest = tiny_manifest().model_copy(update={"labels": labels})
    with pytest.raises(ManifestError, match="needs two labels or more, and none of them empty"):
        add(fresh_store, "mine", tmp_path / "x.onnx", manifest)


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


def outside(**fields):
    """A tensor whose values are in another file."""
    given = {"data_location": TensorProto.EXTERNAL} | fields
    tensor = TensorProto(name="outside", data_type=TensorProto.FLOAT, dims=[5], **given)
    tensor.external_data.add(key="location", value="/etc/passwd")
    return tensor


def constant(**attributes):
    return helper.make_node("Constant", [], ["x"], **attributes)


def body(tensor):
    return helper.make_graph([constant(value=tensor)], "body", [], [])


SPARSE = {
    "values": onnx.SparseTensorProto(values=outside(), dims=[9]),
    "indices": onnx.SparseTensorProto(indices=outside(), dims=[9]),
}


def in_function(model, node=None, default=None):
    function = onnx.FunctionProto(name="f", domain="d", node=[node] if node else [])
    if default is not None:
        function.attribute_proto.append(helper.make_attribute("a", default))
    model.functions.append(function)


def in_training(model, **graphs):
    model.training_info.append(onnx.TrainingInfoProto(**graphs))


@pytest.mark.parametrize(
    "hide",
    [
        lambda model: model.graph.initializer.append(outside()),
        lambda model: model.graph.initializer.append(outside(data_location=TensorProto.DEFAULT)),
        lambda model: model.graph.sparse_initializer.append(SPARSE["values"]),
        lambda model: model.graph.sparse_initializer.append(SPARSE["indices"]),
        lambda model: model.graph.node.append(constant(value=outside())),
        lambda model: model.graph.node.append(constant(values=[outside()])),
        lambda model: model.graph.node.append(constant(sparse_value=SPARSE["values"])),
        lambda model: model.graph.node.append(constant(sparse_values=[SPARSE["indices"]])),
        lambda model: model.graph.node.append(constant(body=body(outside()))),
        lambda model: model.graph.node.append(constant(bodies=[body(outside())])),
        lambda model: model.graph.node.append(
            constant(body=helper.make_graph([constant(deeper=body(outside()))], "outer", [], []))
        ),
        lambda model: in_function(model, node=constant(value=outside())),
        lambda model: in_function(model, default=outside()),
        lambda model: in_function(model, default=body(outside())),
        lambda model: in_training(model, algorithm=body(outside())),
        lambda model: in_training(model, initialization=body(outside())),
    ],
)
def test_no_tensor_may_be_in_another_file(fresh_store, tmp_path, tiny_graph, tiny_manifest, hide):
    model = onnx.load_model_from_string(tiny_graph())
    hide(model)
    (tmp_path / "hidden.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ManifestError, match="keeps the weights 'outside' in another file"):
        add(fresh_store, "mine", tmp_path / "hidden.onnx", tiny_manifest())
    assert fresh_store.names() == ()


def endless(model, *, constant_input):
    """Add a loop that never ends; ONNX Runtime runs one of constants while it loads the graph."""
    loop = helper.make_graph(
        [
            helper.make_node("Identity", ["yes"], ["again"]),
            helper.make_node("Add", ["x", "x"], ["more"]),
        ],
        "loop",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("yes", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("again", TensorProto.BOOL, []),
            helper.make_tensor_value_info("more", TensorProto.FLOAT, None),
        ],
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "begin"))
    model.graph.initializer.append(numpy_helper.from_array(np.zeros((3, 5), np.float32), "zeros"))
    start = "zeros" if constant_input else "linear"
    model.graph.node.append(helper.make_node("Loop", ["", "begin", start], ["last"], body=loop))
    model.graph.node.append(helper.make_node("ReduceSum", ["last"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["linear", "sum"], ["logits"]))
    model.graph.node[1].output[0] = "linear"


@pytest.mark.parametrize("constant_input", [False, True])
def test_a_graph_that_computes_without_an_end_is_refused(
    fresh_store, tmp_path, tiny_graph, tiny_manifest, constant_input
):
    model = onnx.load_model_from_string(tiny_graph())
    endless(model, constant_input=constant_input)
    onnx.checker.check_model(model)
    (tmp_path / "endless.onnx").write_bytes(model.SerializeToString())
    with pytest.raises(ManifestError, match=r"not loaded and run within 5 s.*--timeout-seconds"):
        add(fresh_store, "mine", tmp_path / "endless.onnx", tiny_manifest(), timeout_s=5)
    assert fresh_store.names() == ()


def test_the_process_that_verifies_does_not_import_from_the_current_folder(
    fresh_store, onnx_file, tiny_manifest, tmp_path, monkeypatch
):
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "__init__.py").write_text("raise SystemExit(1)")
    path = onnx_file()
    monkeypatch.chdir(tmp_path)
    assert add(fresh_store, "mine", path, tiny_manifest()).name == "mine"


def test_a_process_that_dies_is_an_error(fresh_store, onnx_file, tiny_manifest, monkeypatch):
    monkeypatch.setattr("models.verify.sys.executable", "/bin/false")
    with pytest.raises(ManifestError, match="ended with exit code 1"):
        add(fresh_store, "mine", onnx_file(), tiny_manifest())


def test_no_file(fresh_store, tmp_path, tiny_manifest):
    with pytest.raises(ManifestError, match="cannot be read"):
        add(fresh_store, "mine", tmp_path / "none.onnx", tiny_manifest())


@pytest.mark.parametrize("content", [b"\x08", b"not a graph", b""])
def test_not_onnx(fresh_store, tmp_path, tiny_manifest, content):
    (tmp_path / "x.onnx").write_bytes(content)
    with pytest.raises(ManifestError):
        add(fresh_store, "mine", tmp_path / "x.onnx", tiny_manifest())
