"""Graphs are read, refused by name, and computed as ONNX Runtime computes them."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from harness.errors import SurrogateError
from harness.surrogate.compare import difference
from harness.surrogate.onnx_to_torch import OnnxModule
from models import EMBEDDED, Store, ensure
from models.inception_v3 import build_inception_v3

GENERATOR = np.random.default_rng(11)
IMAGE = (2, 4, 11, 7)


def floats(*shape):
    return GENERATOR.normal(0, 1, shape).astype(np.float32)


def file_of(nodes, weights, shape=IMAGE, opset=17, outputs=("output",), **more):
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", opset), helper.make_opsetid("own", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8, **more)
    return model.SerializeToString()


def expected(file, batch):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: batch})[0]


def apart(file, batch):
    with torch.no_grad():
        return difference(OnnxModule(file)(torch.from_numpy(batch)).numpy(), expected(file, batch))


def test_the_last_input_may_have_no_name():
    node = helper.make_node("Conv", ["input", "kernel", ""], ["output"])
    assert apart(file_of([node], {"kernel": floats(2, 4, 3, 3)}), floats(*IMAGE)) < 1e-5


def test_a_graph_may_have_branches():
    nodes = [
        helper.make_node("Mul", ["input", "two"], ["twice"]),
        helper.make_node("Relu", ["twice"], ["positive"]),
        helper.make_node("Concat", ["positive", "input", "twice"], ["output"], axis=1),
    ]
    assert apart(file_of(nodes, {"two": np.float32(2)}), floats(*IMAGE)) < 1e-6


SPARSE = helper.make_sparse_tensor(
    numpy_helper.from_array(np.array([3], np.float32), "values"),
    numpy_helper.from_array(np.array([2], np.int64), "indices"),
    [7],
)


@pytest.mark.parametrize(
    "form",
    [
        {"value": numpy_helper.from_array(np.float32(2))},
        {"value_float": 2.5},
        {"value_floats": [1.0, 2, 3, 4, 5, 6, 7]},
        {"value_int": 3},
        {"value_ints": [1, 2, 3, 4, 5, 6, 7]},
        {"sparse_value": SPARSE},
    ],
    ids=lambda form: next(iter(form)),
)
def test_a_constant_may_have_any_form(form):
    nodes = [
        helper.make_node("Constant", [], ["constant"], **form),
        helper.make_node("Cast", ["constant"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input", "factor"], ["output"]),
    ]
    file = file_of(nodes, {})
    batch = torch.from_numpy(floats(*IMAGE))
    if "sparse_value" in form:  # ONNX Runtime's Cast takes no sparse tensor
        assert torch.equal(OnnxModule(file)(batch), batch * torch.eye(7)[2] * 3)
    else:
        assert apart(file, batch.numpy()) < 1e-6


def test_a_text_is_not_a_constant():
    nodes = [
        helper.make_node("Constant", [], ["text"], value_string="no"),
        helper.make_node("Cast", ["text"], ["factor"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["input", "factor"], ["output"]),
    ]
    with pytest.raises(SurrogateError, match=r"Constant \('text'\) is a text"):
        OnnxModule(file_of(nodes, {}))


def test_one_of_several_outputs_is_computed():
    nodes = [
        helper.make_node("Hardmax", ["input"], ["aux"]),
        helper.make_node("Relu", ["input"], ["output"]),
    ]
    file = file_of(nodes, {}, outputs=("aux", "output"))
    batch = torch.from_numpy(floats(*IMAGE))
    assert torch.equal(OnnxModule(file, "output")(batch), batch.relu())
    with pytest.raises(SurrogateError, match="differentiated here: Hardmax"):
        OnnxModule(file, "aux")
    with pytest.raises(SurrogateError, match=r"no output 'scores'; it has \['aux', 'output'\]"):
        OnnxModule(file, "scores")


def test_constants_are_folded():
    nodes = [
        helper.make_node("Transpose", ["kernel"], ["turned"], perm=[1, 0]),
        helper.make_node("DequantizeLinear", ["turned", "scale"], ["weights"]),
        helper.make_node("MatMul", ["input", "weights"], ["output"]),
    ]
    kernel = GENERATOR.integers(-100, 100, (5, 7), np.int8)
    file = file_of(nodes, {"kernel": kernel, "scale": np.float32(0.1)})
    module, batch = OnnxModule(file), torch.from_numpy(floats(*IMAGE))
    assert [node.kind for node in module.nodes] == ["MatMul"]
    assert module.quantized
    weights = torch.from_numpy(kernel.T * np.float32(0.1))
    assert torch.allclose(module(batch), batch @ weights, atol=1e-4)


def test_functions_are_replaced_by_what_they_consist_of():
    """ONNX defines operators by others, and exporters write functions of their own."""
    twice = helper.make_function(
        "own", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])],
        [helper.make_opsetid("", 17)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Twice", ["input"], ["twice"], domain="own"),
        helper.make_node("MeanVarianceNormalization", ["twice"], ["output"]),
    ]
    file = file_of(nodes, {}, functions=[twice])
    kinds = {node.kind for node in OnnxModule(file).nodes}
    assert kinds.isdisjoint({"Twice", "MeanVarianceNormalization"})
    assert apart(file, floats(*IMAGE)) < 1e-6


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (("DynamicQuantizeLinear", {}), "differentiated here: DynamicQuantizeLinear"),
        (("Hardmax", {}), "operators that cannot be differentiated here: Hardmax"),
        (("Relu", {"domain": "own"}), "operators that cannot be differentiated here: Relu of own"),
        (("Relu", {"secret": 3}), "attributes that cannot be differentiated here: secret of Relu"),
        (
            ("Conv", {"auto_pad": "SOMEHOW", "kernel_shape": [3, 3]}),
            r"Conv \('output'\) cannot be differentiated here: its auto_pad is 'SOMEHOW', and",
        ),
    ],
)
def test_what_is_not_supported_is_named(node, message):
    kind, attributes = node
    given = ["input", "kernel"] if kind == "Conv" else ["input"]
    file = file_of(
        [helper.make_node(kind, given, ["output"], **attributes)],
        {"kernel": floats(2, 4, 3, 3)} if kind == "Conv" else {},
    )
    with pytest.raises(SurrogateError, match=message):
        OnnxModule(file)(torch.zeros(IMAGE))


@pytest.mark.parametrize(
    "node",
    [
        ("BatchNormalization", ["input", "a", "a", "a", "a"], {"training_mode": 1}),
        ("Resize", ["input", "", "", "a"], {"antialias": 1, "mode": "linear"}),
        ("Reshape", ["input", "a"], {}),
        ("MatMul", ["input", "a"], {}),
        ("MaxPool", ["input"], {}),
        ("Add", ["input", "nowhere"], {}),
    ],
    ids=lambda node: node[0],
)
def test_a_node_that_fails_is_named(node):
    kind, given, attributes = node
    made = helper.make_node(kind, given, ["output"], name="wrong", **attributes)
    module = OnnxModule(file_of([made], {"a": np.array([2, 3, 4, 5], np.float32)}))
    with pytest.raises(SurrogateError, match=rf"{kind} \('wrong'\) cannot be differentiated here"):
        module(torch.zeros(IMAGE))


def test_a_file_that_is_not_a_graph_is_refused():
    for file in (b"\xff\xfe nonsense", b"", onnx.ModelProto().SerializeToString()):
        with pytest.raises(SurrogateError, match="The file is not a valid ONNX graph"):
            OnnxModule(file)


def test_the_embedded_model_computes_what_onnx_runtime_computes(store):
    manifest, file = ensure(Store(store), EMBEDDED)
    height, width = manifest.input.height_px, manifest.input.width_px
    assert apart(file, GENERATOR.uniform(-1, 1, (2, 3, height, width)).astype(np.float32)) < 1e-4


@pytest.mark.parametrize("counts_padding", [False, True])
def test_inception_v3_computes_what_onnx_runtime_computes(counts_padding):
    def weights(name, shape):
        shape = [50 if side is None else side for side in shape]
        if name.endswith("running_var"):
            return GENERATOR.uniform(0.5, 1.2, shape)
        return GENERATOR.normal(0, (2 / max(np.prod(shape[1:]), 50)) ** 0.5, shape)

    model = build_inception_v3(weights, average_pool_counts_padding=counts_padding, size_px=107)
    batch = GENERATOR.uniform(-1, 1, (2, 3, 107, 107)).astype(np.float32)
    assert apart(model.SerializeToString(), batch) < 1e-4
