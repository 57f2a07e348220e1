"""Each operator, and each graph of the project, computes what ONNX Runtime computes."""

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper

from harness.errors import SurrogateError
from harness.surrogate.onnx_to_torch import OPERATORS, OnnxModule, difference
from models import EMBEDDED, Store, ensure
from models.inception_v3 import build_inception_v3

GENERATOR = np.random.default_rng(11)


def floats(*shape):
    return GENERATOR.normal(0, 1, shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


def file_of(nodes, weights, shape, opset=17):
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("output")],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def expected(file, batch):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    (output,) = session.run(None, {session.get_inputs()[0].name: batch})
    return output


IMAGE, FLAT = (2, 4, 11, 7), (3, 6)
PADS = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]}
CASES = [
    ("Add", IMAGE, [floats(1, 4, 1, 1)], {}),
    ("Sub", IMAGE, [floats(4, 1, 1)], {}),
    ("Mul", IMAGE, [floats(1)], {}),
    ("Div", IMAGE, [np.abs(floats(4, 1, 1)) + 1], {}),
    ("AveragePool", IMAGE, [], {**PADS, "pads": [1, 0, 1, 1], "count_include_pad": 0}),
    ("AveragePool", IMAGE, [], {**PADS, "pads": [1, 0, 1, 1], "count_include_pad": 1}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("AveragePool", IMAGE, [], {"kernel_shape": [5, 3], "strides": [3, 2]}),
    ("MaxPool", IMAGE, [], {**PADS, "pads": [1, 0, 1, 1]}),
    ("MaxPool", IMAGE, [], {"kernel_shape": [3, 3], "strides": [2, 2]}),
    ("BatchNormalization", IMAGE, [floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1], {}),
    (
        "BatchNormalization",
        IMAGE,
        [floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1],
        {"epsilon": 0.5},
    ),
    ("Clip", IMAGE, [np.float32(-0.5), np.float32(0.7)], {}),
    ("Clip", IMAGE, [np.float32(0)], {}),
    ("Conv", IMAGE, [floats(5, 4, 3, 2)], PADS),
    ("Conv", IMAGE, [floats(5, 4, 3, 3), floats(5)], {"pads": [1, 1, 1, 1]}),
    ("Conv", IMAGE, [floats(8, 1, 3, 3)], {"group": 4, "strides": [2, 2]}),
    ("Conv", IMAGE, [floats(5, 4, 3, 2)], {"dilations": [2, 3], "pads": [0, 2, 1, 0]}),
    ("Dropout", IMAGE, [], {}),
    ("Flatten", IMAGE, [], {}),
    ("Flatten", IMAGE, [], {"axis": 2}),
    ("Gemm", FLAT, [floats(6, 5)], {}),
    ("Gemm", FLAT, [floats(5, 6), floats(5)], {"transB": 1, "alpha": 0.3, "beta": 2.0}),
    ("Gemm", FLAT, [floats(3, 5)], {"transA": 1}),
    ("GlobalAveragePool", IMAGE, [], {}),
    ("HardSigmoid", IMAGE, [], {}),
    ("HardSigmoid", IMAGE, [], {"alpha": 0.4, "beta": 0.1}),
    ("Identity", IMAGE, [], {}),
    ("LeakyRelu", IMAGE, [], {}),
    ("LeakyRelu", IMAGE, [], {"alpha": 0.3}),
    ("MatMul", FLAT, [floats(6, 5)], {}),
    ("ReduceMean", IMAGE, [], {"axes": [2, 3]}),
    ("ReduceMean", IMAGE, [], {"axes": [1], "keepdims": 0}),
    ("Relu", IMAGE, [], {}),
    ("Reshape", IMAGE, [whole(2, 28, 11)], {}),
    ("Reshape", IMAGE, [whole(-1, 77)], {}),
    ("Reshape", IMAGE, [whole(0, -1)], {}),
    ("Sigmoid", IMAGE, [], {}),
    ("Softmax", IMAGE, [], {"axis": 1}),
    ("Softmax", FLAT, [], {}),
    ("Tanh", IMAGE, [], {}),
    ("Transpose", IMAGE, [], {"perm": [0, 2, 3, 1]}),
    ("Transpose", FLAT, [], {}),
]


@pytest.mark.parametrize(
    ("operator", "shape", "weights", "attributes"),
    CASES,
    ids=[f"{number}-{case[0]}" for number, case in enumerate(CASES)],
)
def test_an_operator_computes_what_onnx_runtime_computes(operator, shape, weights, attributes):
    named = {f"weight_{number}": value for number, value in enumerate(weights)}
    node = helper.make_node(operator, ["input", *named], ["output"], **attributes)
    file, batch = file_of([node], named, shape), floats(*shape)
    given = torch.from_numpy(batch).requires_grad_()
    own = OnnxModule(file)(given)
    assert own.detach().numpy() == pytest.approx(expected(file, batch), abs=1e-5)
    assert np.isfinite(torch.autograd.grad(own.sum(), given)[0].numpy()).all()


def test_every_operator_is_tested():
    assert {case[0] for case in CASES} | {"Concat", "Constant"} == set(OPERATORS)


@pytest.mark.parametrize("opset", [17, 18])
def test_axes_may_be_an_attribute_or_an_input(opset):
    weights = {"axes": whole(2, 3)} if opset == 18 else {}
    attributes = {} if opset == 18 else {"axes": [2, 3]}
    node = helper.make_node("ReduceMean", ["input", *weights], ["output"], **attributes)
    file, batch = file_of([node], weights, IMAGE, opset), floats(*IMAGE)
    own = OnnxModule(file)(torch.from_numpy(batch)).numpy()
    assert own == pytest.approx(expected(file, batch), abs=1e-5)


def test_clip_may_have_only_an_upper_limit():
    node = helper.make_node("Clip", ["input", "", "high"], ["output"])
    file, batch = file_of([node], {"high": np.float32(0.2)}, IMAGE), floats(*IMAGE)
    assert difference(OnnxModule(file), batch, expected(file, batch)) < 1e-5


def test_the_last_input_may_have_no_name():
    node = helper.make_node("Conv", ["input", "kernel", ""], ["output"])
    file, batch = file_of([node], {"kernel": floats(2, 4, 3, 3)}, IMAGE), floats(*IMAGE)
    assert difference(OnnxModule(file), batch, expected(file, batch)) < 1e-5


def test_a_graph_may_have_branches_and_constants():
    constant = helper.make_node(
        "Constant", [], ["two"], value=numpy_helper.from_array(np.float32(2))
    )
    nodes = [
        constant,
        helper.make_node("Mul", ["input", "two"], ["twice"]),
        helper.make_node("Relu", ["twice"], ["positive"]),
        helper.make_node("Concat", ["positive", "input", "twice"], ["output"], axis=1),
    ]
    file, batch = file_of(nodes, {}, IMAGE), floats(*IMAGE)
    assert difference(OnnxModule(file), batch, expected(file, batch)) < 1e-6


def test_an_unknown_operator_is_named():
    nodes = [
        helper.make_node("Erf", ["input"], ["erf"]),
        helper.make_node("Celu", ["erf"], ["output"]),
    ]
    with pytest.raises(
        SurrogateError, match=r"without a gradient here: Celu, Erf\. Supported are "
    ):
        OnnxModule(file_of(nodes, {}, IMAGE))


def test_auto_pad_is_refused():
    node = helper.make_node(
        "Conv", ["input", "kernel"], ["output"], auto_pad="SAME_UPPER", kernel_shape=[3, 3]
    )
    module = OnnxModule(file_of([node], {"kernel": floats(2, 4, 3, 3)}, IMAGE))
    with pytest.raises(SurrogateError, match="auto_pad b'SAME_UPPER' is not supported"):
        module(torch.zeros(IMAGE))


def test_a_file_that_is_not_a_graph_is_refused():
    with pytest.raises(SurrogateError, match="The file is not a valid ONNX graph"):
        OnnxModule(b"\xff\xfe nonsense")


def test_the_embedded_model_computes_what_onnx_runtime_computes(store):
    manifest, file = ensure(Store(store), EMBEDDED)
    height, width = manifest.input.height_px, manifest.input.width_px
    batch = GENERATOR.uniform(-1, 1, (1, 3, height, width)).astype(np.float32)
    assert difference(OnnxModule(file), batch, expected(file, batch)) < 1e-4


@pytest.mark.parametrize("counts_padding", [False, True])
def test_inception_v3_computes_what_onnx_runtime_computes(counts_padding):
    def weights(name, shape):
        shape = [50 if side is None else side for side in shape]
        if name.endswith("running_var"):
            return GENERATOR.uniform(0.5, 1.2, shape)
        return GENERATOR.normal(0, (2 / max(np.prod(shape[1:]), 50)) ** 0.5, shape)

    model = build_inception_v3(weights, average_pool_counts_padding=counts_padding, size_px=107)
    file, batch = model.SerializeToString(), GENERATOR.uniform(-1, 1, (2, 3, 107, 107))
    batch = batch.astype(np.float32)
    scores = expected(file, batch)
    assert 0.1 < np.ptp(scores) < 1000
    assert difference(OnnxModule(file), batch, scores) < 1e-4 * np.ptp(scores)
