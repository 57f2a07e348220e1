"""Each operator computes what ONNX Runtime computes, and has PyTorch's gradient."""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch import nn
from torch.nn import functional

from harness.surrogate.onnx_to_torch import OnnxModule
from harness.surrogate.operators import OPERATORS

GENERATOR = np.random.default_rng(11)
IMAGE, FLAT = (2, 4, 11, 7), (3, 6)
DOCUMENTATION = Path(__file__).parents[3] / "docs" / "harness.md"


def floats(*shape):
    return GENERATOR.normal(0, 1, shape).astype(np.float32)


def whole(*values):
    return np.array(values, np.int64)


@dataclass
class Case:
    """One node after the input: ``torch`` computes what it should, from the same inputs."""

    kind: str
    torch: object
    weights: list = field(default_factory=list)
    attributes: dict = field(default_factory=dict)
    shape: tuple = IMAGE
    opset: int = 17
    first: bool = True
    """Whether the input comes before the weights."""
    plain: bool = False
    """Whether the node computes shapes or indices, which have no gradient."""
    outputs: int = 1
    used: int = -1
    """Which output is looked at."""
    positive: bool = False


def file_of(case):
    """Return a graph of one node. Shapes and indices are added to the sum of the input."""
    names = ["" if value is None else f"weight_{i}" for i, value in enumerate(case.weights)]
    given = ["input", *names] if case.first else [*names, "input"]
    made = [f"made_{number}" for number in range(case.outputs)]
    nodes = [helper.make_node(case.kind, given, made, **case.attributes)]
    if case.plain:
        nodes += [
            helper.make_node("Cast", ["made_0"], ["float"], to=1),
            helper.make_node("ReduceSum", ["input"], ["sum"], keepdims=0),
            helper.make_node("Add", ["float", "sum"], ["output"]),
        ]
    else:
        nodes += [helper.make_node("Identity", [made[case.used]], ["output"])]
    return model_of(nodes, dict(zip(names, case.weights, strict=True)), case.shape, case.opset)


def model_of(nodes, weights, shape, opset=17, output="output"):
    graph = helper.make_graph(
        nodes,
        "one",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(output)],
        [numpy_helper.from_array(value, name) for name, value in weights.items() if name],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    return model.SerializeToString()


def expected(file, batch):
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    return session.run(None, {"input": batch})[0]


def conv(**options):
    def compute(x, kernel, bias=None):
        return functional.conv2d(x, kernel, bias, **options)

    return compute


def before(pads, function, value=0.0):
    """Pad as PyTorch does (left, right, top, bottom), and then apply a function."""
    return lambda x, *given: function(functional.pad(x, pads, value=value), *given)


def resized(size=None, scale=None, **options):
    options = {"mode": "bilinear", **options}
    return lambda x, *_: functional.interpolate(x, size=size, scale_factor=scale, **options)


def by_sizes(*sides):
    return [None, None, whole(*IMAGE[:2], *sides)]


def by_scales(*scales):
    return [None, np.array([1, 1, *scales], np.float32)]


def reduced(function, axes=(2, 3), keep=True):
    return lambda x, *_: function(x, dim=axes, keepdim=keep)


NORMAL = [floats(4), floats(4), floats(4), np.abs(floats(4)) + 0.1]
POOL = {"kernel_shape": [3, 3], "strides": [2, 2]}
SAME = {"kernel_shape": [3, 2], "strides": [2, 2]}
POSITIVE = np.abs(floats(1, 4, 1, 1)) + 1
HALF = {"coordinate_transformation_mode": "half_pixel"}
CORNERS = {"coordinate_transformation_mode": "align_corners"}


CASES = [
    Case("Abs", torch.abs),
    Case("Add", torch.add, [floats(1, 4, 1, 1)]),
    Case("Sub", torch.sub, [floats(4, 1, 1)]),
    Case("Sub", lambda c, x: c - x, [floats(4, 1, 1)], first=False),
    Case("Mul", torch.mul, [floats(1)]),
    Case("Div", torch.div, [POSITIVE]),
    Case("Mod", torch.fmod, [POSITIVE], {"fmod": 1}),
    Case("Neg", torch.neg),
    Case("Sign", torch.sign),
    Case("Ceil", torch.ceil),
    Case("Floor", torch.floor),
    Case("Round", torch.round),
    Case("Exp", torch.exp),
    Case("Log", torch.log, positive=True),
    Case("Sqrt", torch.sqrt, positive=True),
    Case("Pow", lambda x, a: x**a, [np.float32(2.2)], positive=True),
    Case("ReduceLogSum", lambda x: x.sum((2, 3), keepdim=True).log(), [], {"axes": [2, 3]},
         positive=True),
    Case("Swish", nn.SiLU(), opset=24),
    Case("RMSNormalization", lambda x, w: functional.rms_norm(x, (7,), w, 1e-5), [floats(7)],
         opset=23),
    Case("Sin", torch.sin),
    Case("Cos", torch.cos),
    Case("Erf", torch.erf),
    Case("Reciprocal", torch.reciprocal),
    Case("Pow", lambda x, _: x**2, [np.float32(2)]),
    Case("Pow", lambda x, _: x**3, [whole(3)]),
    Case("Pow", lambda x, _: x**2, [whole(2)]),
    Case("Max", torch.maximum, [floats(1, 4, 1, 1)]),
    Case("Min", torch.minimum, [floats(1, 4, 1, 1)]),
    Case("Sum", lambda x, a, b: x + a + b, [floats(1), floats(4, 1, 1)]),
    Case("Mean", lambda x, a: (x + a) / 2, [floats(*IMAGE)]),
    Case("Identity", lambda x: x * 1),
    Case("Dropout", lambda x: x * 1),
    Case("Relu", functional.relu),
    Case("LeakyRelu", nn.LeakyReLU()),
    Case("LeakyRelu", nn.LeakyReLU(0.3), attributes={"alpha": 0.3}),
    Case("PRelu", lambda x, s: functional.prelu(x, s.flatten()), [np.abs(floats(4, 1, 1))]),
    Case("Elu", nn.ELU()),
    Case("Elu", nn.ELU(0.4), attributes={"alpha": 0.4}),
    Case("Celu", nn.CELU(0.4), attributes={"alpha": 0.4}),
    Case("Selu", nn.SELU()),
    Case("Gelu", nn.GELU(), opset=20),
    Case("Gelu", nn.GELU("tanh"), attributes={"approximate": "tanh"}, opset=20),
    Case("Mish", nn.Mish(), opset=18),
    Case("HardSwish", nn.Hardswish()),
    Case("HardSigmoid", lambda x: (0.2 * x + 0.5).clamp(0, 1)),
    Case("HardSigmoid", nn.Hardsigmoid(), attributes={"alpha": 1 / 6}),
    Case("Sigmoid", nn.Sigmoid()),
    Case("Tanh", nn.Tanh()),
    Case("Softplus", nn.Softplus()),
    Case("Softsign", nn.Softsign()),
    Case("ThresholdedRelu", nn.Threshold(0.3, 0), attributes={"alpha": 0.3}),
    Case("Clip", lambda x, *_: functional.hardtanh(x, -0.5, 0.7),
         [np.float32(-0.5), np.float32(0.7)]),
    Case("Clip", lambda x, _: x.relu(), [np.float32(0)]),
    Case("Clip", lambda x, _, high: x.clamp(max=float(high)), [None, np.float32(0.2)]),
    Case("Clip", nn.Hardtanh(-0.5, 0.7), attributes={"min": -0.5, "max": 0.7}, opset=10),
    Case("Clip", lambda x, _, high: x * 0 + high, [np.float32(0.7), np.float32(-0.5)]),
    Case("Softmax", nn.Softmax(1), attributes={"axis": 1}),
    Case("Softmax", nn.Softmax(-1), shape=FLAT),
    Case("Softmax", lambda x: x.flatten(2).softmax(2).view(x.shape), [], {"axis": 2}, opset=12),
    Case("LogSoftmax", nn.LogSoftmax(1), attributes={"axis": 1}),
    Case("BatchNormalization", lambda x, w, b, m, v: functional.batch_norm(x, m, v, w, b), NORMAL),
    Case(
        "BatchNormalization",
        lambda x, w, b, m, v: functional.batch_norm(x, m, v, w, b, eps=0.5),
        NORMAL,
        {"epsilon": 0.5},
    ),
    Case(
        "LayerNormalization",
        lambda x, w, b: functional.layer_norm(x, (7,), w, b),
        [floats(7), floats(7)],
    ),
    Case(
        "LayerNormalization",
        lambda x, w: functional.layer_norm(x, (11, 7), w, eps=0.1),
        [floats(11, 7)],
        {"axis": 2, "epsilon": 0.1},
    ),
    Case(
        "InstanceNormalization",
        lambda x, w, b: functional.instance_norm(x, weight=w, bias=b, eps=0.01),
        [floats(4), floats(4)],
        {"epsilon": 0.01},
    ),
    Case(
        "GroupNormalization",
        lambda x, w, b: functional.group_norm(x, 2, w, b),
        [floats(4), floats(4)],
        {"num_groups": 2},
        opset=21,
    ),
    Case(
        "GroupNormalization",
        lambda x, w, b: functional.group_norm(
            x, 2, w.repeat_interleave(2), b.repeat_interleave(2), eps=0.1
        ),
        [floats(2), floats(2)],
        {"num_groups": 2, "epsilon": 0.1},
        opset=18,
    ),
    Case("LpNormalization", lambda x: functional.normalize(x, dim=1), [], {"axis": 1}),
    Case("LpNormalization", lambda x: functional.normalize(x, p=1.0, dim=-1), [], {"p": 1}),
    Case(
        "LRN",
        lambda x: functional.local_response_norm(x, 3, 0.2, 0.6, 1.5),
        attributes={"size": 3, "alpha": 0.2, "beta": 0.6, "bias": 1.5},
    ),
    Case("GlobalAveragePool", nn.AdaptiveAvgPool2d(1)),
    Case("GlobalMaxPool", nn.AdaptiveMaxPool2d(1)),
    Case("MaxPool", nn.MaxPool2d(3, 2), attributes=POOL),
    Case("MaxPool", nn.MaxPool2d(3, 2, 1), attributes={**POOL, "pads": [1, 1, 1, 1]}),
    Case("MaxPool", nn.MaxPool2d(3, 2, dilation=2), attributes={**POOL, "dilations": [2, 2]}),
    Case("MaxPool", nn.MaxPool2d((2, 3), 3, ceil_mode=True),
         attributes={"kernel_shape": [2, 3], "strides": [3, 3], "ceil_mode": 1}),
    Case("MaxPool", before((0, 1, 1, 2), nn.MaxPool2d(3, 2), -torch.inf),
         attributes={**POOL, "pads": [1, 0, 2, 1]}),
    Case("MaxPool", before((0, 1, 1, 1), nn.MaxPool2d((3, 2), 2), -torch.inf),
         attributes={**SAME, "auto_pad": "SAME_UPPER"}),
    Case("MaxPool", nn.MaxPool1d(3, 2), attributes={"kernel_shape": [3], "strides": [2]},
         shape=(2, 4, 11)),
    Case("AveragePool", nn.AvgPool2d(3, 2, 1, count_include_pad=False),
         attributes={**POOL, "pads": [1, 1, 1, 1]}),
    Case("AveragePool", nn.AvgPool2d(3, 2, 1),
         attributes={**POOL, "pads": [1, 1, 1, 1], "count_include_pad": 1}),
    Case("AveragePool", nn.AvgPool2d((5, 3), (3, 2)),
         attributes={"kernel_shape": [5, 3], "strides": [3, 2]}),
    Case("AveragePool", nn.AvgPool2d(2, 2, ceil_mode=True),
         attributes={"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}),
    Case("AveragePool", nn.AvgPool2d(3, 3, 1, ceil_mode=True, count_include_pad=False),
         attributes={"kernel_shape": [3, 3], "strides": [3, 3], "ceil_mode": 1,
                     "pads": [1, 1, 1, 1]}),
    Case("AveragePool", lambda x: (x[..., :-4, :] + x[..., 2:-2, :] + x[..., 4:, :]) / 3,
         attributes={"kernel_shape": [3, 1], "dilations": [2, 1]}, opset=19),
    Case("Conv", before((0, 1, 1, 2), conv(stride=(2, 1))), [floats(5, 4, 3, 2)],
         {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 2, 1]}),
    Case("Conv", conv(padding=1), [floats(5, 4, 3, 3), floats(5)], {"pads": [1, 1, 1, 1]}),
    Case("Conv", conv(groups=4, stride=2), [floats(8, 1, 3, 3)], {"group": 4, "strides": [2, 2]}),
    Case("Conv", before((2, 0, 0, 1), conv(dilation=(2, 3))), [floats(5, 4, 3, 2)],
         {"dilations": [2, 3], "pads": [0, 2, 1, 0]}),
    Case("Conv", before((0, 1, 1, 1), conv(stride=2)), [floats(5, 4, 3, 2)],
         {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("Conv", before((1, 0, 1, 0), conv()), [floats(5, 4, 2, 2)], {"auto_pad": "SAME_LOWER"}),
    Case("Conv", conv(), [floats(5, 4, 2, 2)], {"auto_pad": "VALID"}),
    Case("Conv", lambda x, k: functional.conv1d(x, k), [floats(5, 4, 3)], shape=(2, 4, 11)),
    Case("ConvTranspose",
         lambda x, k, b: functional.conv_transpose2d(x, k, b, 2, 1, output_padding=1),
         [floats(4, 5, 3, 3), floats(5)],
         {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    Case("ConvTranspose", lambda x, k: functional.conv_transpose2d(x, k, groups=2, dilation=2),
         [floats(4, 3, 3, 2)], {"group": 2, "dilations": [2, 2]}),
    Case("ConvTranspose",
         lambda x, k: functional.conv_transpose2d(x, k, stride=2)[..., :-1, :-1],
         [floats(4, 5, 3, 3)], {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    Case("ConvTranspose",
         lambda x, k: functional.conv_transpose2d(x, k, stride=2)[..., 1:, 1:],
         [floats(4, 5, 3, 3)], {"strides": [2, 2], "output_shape": [22, 14]}),
    Case("Pad", lambda x, *_: functional.pad(x, (3, 4, 1, 2), value=0.5),
         [whole(0, 0, 1, 3, 0, 0, 2, 4), np.float32(0.5)]),
    Case("Pad", lambda x, *_: functional.pad(x, (0, -2, -1, 0)), [whole(0, 0, -1, 0, 0, 0, 0, -2)]),
    Case("Pad", lambda x, *_: functional.pad(x, (3, 4, 1, 2), "reflect"),
         [whole(0, 0, 1, 3, 0, 0, 2, 4)], {"mode": "reflect"}),
    Case("Pad", lambda x, *_: functional.pad(x, (3, 4, 1, 2), "replicate"),
         [whole(0, 0, 1, 3, 0, 0, 2, 4)], {"mode": "edge"}),
    Case("Pad", lambda x, *_: functional.pad(x, (3, 4, 1, 2), "circular"),
         [whole(0, 0, 1, 3, 0, 0, 2, 4)], {"mode": "wrap"}, opset=19),
    Case("Pad", lambda x, *_: functional.pad(x, (3, 4)), [whole(3, 4), None, whole(-1)], opset=18),
    Case("Pad", lambda x: functional.pad(x, (3, 4)),
         attributes={"pads": [0, 0, 0, 3, 0, 0, 0, 4]}, opset=10),
    Case("Resize", resized((22, 14)), by_sizes(22, 14), {"mode": "linear", **HALF}),
    Case("Resize", resized((5, 9)), by_sizes(5, 9), {"mode": "linear", **HALF}),
    Case("Resize", resized((22, 14), align_corners=True), by_sizes(22, 14),
         {"mode": "linear", **CORNERS}),
    Case("Resize", resized((22, 14), mode="bicubic"), by_sizes(22, 14),
         {"mode": "cubic", **HALF}),
    Case("Resize", resized(scale=(2.0, 3.0), mode="nearest"), by_scales(2, 3),
         {"mode": "nearest", "nearest_mode": "floor",
          "coordinate_transformation_mode": "asymmetric"}),
    Case("Resize", resized(scale=(2.0, 3.0), mode="nearest-exact"), by_scales(2, 3),
         {"mode": "nearest", "nearest_mode": "round_prefer_ceil", **HALF}),
    Case("Resize", resized((22, 7)), [None, None, whole(22)],
         {"mode": "linear", "axes": [2], "coordinate_transformation_mode": "pytorch_half_pixel"},
         opset=18),
    Case("Resize", resized(scale=(2.0, 2.0), mode="nearest"), by_scales(2, 2)[1:],
         {"mode": "nearest"}, opset=10),
    Case("Upsample", resized(scale=(2.0, 2.0), mode="nearest"), by_scales(2, 2)[1:],
         {"mode": "nearest"}, opset=9),
    Case("Gemm", lambda x, b: x @ b, [floats(6, 5)], shape=FLAT),
    Case("Gemm", lambda x, b, c: 0.3 * x @ b.T + 2 * c, [floats(5, 6), floats(5)],
         {"transB": 1, "alpha": 0.3, "beta": 2.0}, shape=FLAT),
    Case("Gemm", lambda x, b: x.T @ b, [floats(3, 5)], {"transA": 1}, shape=FLAT),
    Case("MatMul", torch.matmul, [floats(4, 7, 5)]),
    Case("MatMul", lambda c, x: c @ x, [floats(4, 5, 11)], first=False),
    Case("Einsum", lambda x, b: torch.einsum("bchw,wk->bkhc", x, b), [floats(7, 3)],
         {"equation": "bchw, wk -> bkhc"}),
    Case("ReduceMean", reduced(torch.mean), attributes={"axes": [2, 3]}),
    Case("ReduceMean", reduced(torch.mean, 1, keep=False), [whole(1)], {"keepdims": 0}, opset=18),
    Case("ReduceMean", lambda x: x.mean((0, 1, 2, 3), keepdim=True)),
    Case("ReduceMean", lambda x: x * 1, attributes={"noop_with_empty_axes": 1}, opset=18),
    Case("ReduceSum", reduced(torch.sum), [whole(2, 3)]),
    Case("ReduceMax", reduced(torch.amax), attributes={"axes": [2, 3]}),
    Case("ReduceMin", reduced(torch.amin), attributes={"axes": [-2, -1]}),
    Case("ReduceProd", lambda x: x.prod(2).prod(1), attributes={"axes": [1, 2], "keepdims": 0}),
    Case("ReduceL1", reduced(lambda x, dim, keepdim: x.abs().sum(dim, keepdim)),
         attributes={"axes": [2, 3]}),
    Case("ReduceL2", reduced(torch.linalg.vector_norm), attributes={"axes": [2, 3]}),
    Case("ReduceLogSumExp", reduced(torch.logsumexp), attributes={"axes": [2, 3]}),
    Case("ReduceSumSquare", reduced(lambda x, dim, keepdim: (x * x).sum(dim, keepdim)),
         attributes={"axes": [2, 3]}),
    Case("CumSum", lambda x, _: x.cumsum(2), [whole(2)[0]]),
    Case("CumSum", lambda x, _: x.flip(3).cumsum(3).flip(3) - x, [whole(3)[0]],
         {"reverse": 1, "exclusive": 1}),
    Case("TopK", lambda x, _: x.topk(3, dim=2)[0], [whole(3)], {"axis": 2}, outputs=2, used=0),
    Case("ArgMax", lambda x: x.argmax(1, keepdim=True), attributes={"axis": 1}, plain=True),
    Case("Reshape", lambda x, _: x.reshape(2, 28, 11), [whole(2, 28, 11)]),
    Case("Reshape", lambda x, _: x.reshape(2, -1), [whole(0, -1)]),
    Case("Flatten", lambda x: x.reshape(2, -1)),
    Case("Flatten", lambda x: x.reshape(-1, 7), attributes={"axis": -1}),
    Case("Transpose", lambda x: x.permute(0, 2, 3, 1), attributes={"perm": [0, 2, 3, 1]}),
    Case("Transpose", lambda x: x.T, shape=FLAT),
    Case("Squeeze", lambda x, _: x[:, 0], [whole(1)], shape=(2, 1, 5, 1)),
    Case("Squeeze", lambda x: x[:, 0, :, 0], shape=(2, 1, 5, 1)),
    Case("Squeeze", lambda x: x[:, 0], attributes={"axes": [1]}, shape=(2, 1, 5, 1), opset=11),
    Case("Unsqueeze", lambda x, _: x[:, None, :, None], [whole(1, -1)], shape=FLAT),
    Case("Unsqueeze", lambda x: x[None], attributes={"axes": [0]}, shape=FLAT, opset=11),
    Case("Concat", lambda x, a: torch.cat([x, a], 1), [floats(2, 3, 11, 7)], {"axis": 1}),
    Case("Split", lambda x, _: x[:, 1:], [whole(1, 3)], {"axis": 1}, outputs=2),
    Case("Split", lambda x: x[:, 2:], attributes={"axis": 1}, outputs=2),
    Case("Split", lambda x: x[:, 3:], attributes={"axis": 1, "split": [3, 1]}, outputs=2, opset=11),
    Case("Split", lambda x: x[..., 8:], attributes={"axis": 2, "num_outputs": 3},
         shape=(2, 3, 11), outputs=3, opset=18),
    Case("Slice", lambda x, *_: x[:, 1:3, ::2], [whole(1, 0), whole(3, 2**62), whole(1, 2),
                                                   whole(1, 2)]),
    Case("Slice", lambda x, *_: x.flip(3), [whole(-1), whole(-(2**62)), whole(3), whole(-1)]),
    Case("Slice", lambda x: x[:, :, 2:-1], attributes={"axes": [2], "starts": [2], "ends": [-1]},
         opset=9),
    Case("Expand", lambda x, _: x.expand(5, 3, 6), [whole(5, 1, 6)], shape=FLAT),
    Case("Tile", lambda x, _: x.repeat(2, 3), [whole(2, 3)], shape=FLAT),
    Case("Gather", lambda x, _: x[:, [2, 0, 3]], [whole(2, 0, -1)], {"axis": 1}),
    Case("Gather", lambda x, _: x[:, 1], [whole(1)[0]], {"axis": 1}),
    Case("GatherElements", lambda x, i: x.gather(1, i % 6), [whole([0, -1], [2, 2], [5, 0])],
         {"axis": 1}, shape=FLAT),
    Case("GatherND", lambda x, _: x[[0, 1], [3, 2]], [whole([0, 3], [1, 2])]),
    Case("ScatterND", lambda x, i, u: x.index_put((i[:, 0],), u), [whole([2], [0]), floats(2, 6)],
         shape=FLAT, opset=18),
    Case("Trilu", lambda x, _: x.tril(1), [whole(1)[0]], {"upper": 0}),
    Case("Where", lambda c, a, x: torch.where(c, a, x), [floats(4, 1, 1) > 0, floats(4, 1, 1)],
         first=False),
    Case("DepthToSpace", nn.PixelShuffle(2), attributes={"blocksize": 2, "mode": "CRD"}),
    Case("DepthToSpace",
         lambda x: x.view(2, 2, 2, 1, 11, 7).permute(0, 3, 4, 1, 5, 2).reshape(2, 1, 22, 14),
         attributes={"blocksize": 2}),
    Case("SpaceToDepth",
         lambda x: x.view(2, 3, 2, 2, 3, 2).permute(0, 3, 5, 1, 2, 4).reshape(2, 12, 2, 3),
         attributes={"blocksize": 2}, shape=(2, 3, 4, 6)),
    Case("Cast", lambda x: x.double(), attributes={"to": TensorProto.DOUBLE}),
    Case("CastLike", lambda x, _: x.double(), [np.float64(1)]),
    Case("Greater", lambda x, a: x > a, [floats(4, 1, 1)], plain=True),
    Case("GreaterOrEqual", lambda x, a: x >= a, [floats(4, 1, 1)], plain=True),
    Case("Less", lambda x, a: x < a, [floats(4, 1, 1)], plain=True),
    Case("LessOrEqual", lambda x, a: x <= a, [floats(4, 1, 1)], plain=True),
    Case("Equal", lambda x, a: x == a, [np.float32(0)], plain=True),
    Case("IsNaN", torch.isnan, plain=True),
    Case("Shape", lambda x: torch.tensor(x.shape), plain=True),
    Case("Shape", lambda x: torch.tensor(x.shape[1:3]), [], {"start": 1, "end": 3}, plain=True),
    Case("Size", lambda x: torch.tensor(x.numel()), plain=True),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=[f"{n}-{c.kind}" for n, c in enumerate(CASES)])
def test_an_operator_has_the_values_of_onnx_runtime_and_the_gradient_of_pytorch(case):
    file, batch = file_of(case), floats(*case.shape)
    batch = np.abs(batch) + 0.1 if case.positive else batch
    one, other = (torch.from_numpy(batch).requires_grad_() for _ in range(2))
    own = OnnxModule(file)(one)
    close(own.detach().numpy(), expected(file, batch))
    weights = [None if w is None else torch.from_numpy(np.array(w)) for w in case.weights]
    wanted = (
        case.torch(other, *weights) if not weights or case.first else case.torch(*weights, other)
    )
    if case.plain:
        wanted = wanted.float() + other.sum()
    close(own.detach().numpy(), wanted.detach().numpy())
    upstream = torch.from_numpy(GENERATOR.normal(0, 1, own.shape)).to(own.dtype)
    (gradient,) = torch.autograd.grad((own * upstream).sum(), one)
    (reference,) = torch.autograd.grad((wanted * upstream).sum(), other)
    close(gradient.numpy(), reference.numpy())


def node(kind, given, made, **attributes):
    return helper.make_node(kind, given.split(), made.split(), **attributes)


def computed(nodes, weights, shape=IMAGE, opset=17):
    """Return the input, and what a graph of several nodes computes. It is ONNX Runtime's result."""
    file, batch = model_of(nodes, weights, shape, opset), floats(*shape)
    given = torch.from_numpy(batch).requires_grad_()
    own = OnnxModule(file)(given)
    close(own.detach().numpy(), expected(file, batch))
    return given, own


@pytest.mark.parametrize(
    ("kind", "reference"),
    [("And", torch.logical_and), ("Or", torch.logical_or), ("Xor", torch.logical_xor)],
)
def test_masks_may_be_combined(kind, reference):
    nodes = [
        node("Greater", "input low", "above"),
        node("Less", "input high", "below"),
        node("Not", "below", "not_below"),
        node(kind, "above not_below", "mask"),
        node("Where", "mask input low", "output"),
    ]
    given, own = computed(nodes, {"low": np.float32(-0.5), "high": np.float32(0.5)})
    mask = reference(given > -0.5, ~(given < 0.5))
    assert torch.autograd.grad(own.sum(), given)[0].tolist() == mask.float().tolist()


def test_the_arithmetic_of_shapes_follows_the_batch():
    """As in vision transformers: a table as long as the batch is computed from the shape."""
    nodes = [
        node("Shape", "input", "shape"),
        node("Gather", "shape zero", "batch"),
        node("Range", "zero batch one", "range"),
        node("Cast", "range", "floats", to=TensorProto.FLOAT),
        node("Unsqueeze", "batch axis", "sides"),
        node("ConstantOfShape", "sides", "twos", value=numpy_helper.from_array(floats(1) * 0 + 2)),
        node("Mul", "floats twos", "weights"),
        node("Sub", "batch one", "last"),
        node("Div", "batch two", "half"),
        node("Mod", "batch two", "odd"),
        node("Sum", "weights weights", "more"),
        node("Reshape", "more column", "factors"),
        node("Mul", "input factors", "output"),
    ]
    numbers = {"zero": whole(0)[0], "one": whole(1)[0], "two": whole(2)[0]}
    weights = {**numbers, "axis": whole(0), "column": whole(-1, 1)}
    given, own = computed(nodes, weights, (5, 3))
    (gradient,) = torch.autograd.grad(own.sum(), given)
    assert gradient[:, 0].tolist() == [0, 4, 8, 12, 16]


def test_attention_is_computed_from_what_it_consists_of():
    nodes = [
        node("Mul", "input two", "query"),
        node("Attention", "query input input", "output"),
    ]
    given, own = computed(nodes, {"two": np.float32(2)}, (2, 3, 5, 4), opset=23)
    other = given.detach().clone().requires_grad_()
    wanted = functional.scaled_dot_product_attention(2 * other, other, other)
    close(own.detach().numpy(), wanted.detach().numpy())
    found, reference = (
        torch.autograd.grad(each.square().sum(), to)[0]
        for each, to in ((own, given), (wanted, other))
    )
    close(found.numpy(), reference.numpy())


def test_whole_numbers_are_divided_towards_zero():
    nodes = [
        node("Div", "left right", "quotient"),
        node("Cast", "quotient", "float", to=TensorProto.FLOAT),
        node("Mul", "input float", "output"),
    ]
    computed(nodes, {"left": whole(7, -7, 7), "right": whole(2, 2, -2)}, (2, 3))


QUANTIZED = {
    "uint8": (np.float32(0.01), np.uint8(120), 0, 255),
    "int8": (np.float32(0.01), np.int8(-3), -128, 127),
}


@pytest.mark.parametrize("kind", [*QUANTIZED, "without a zero"])
def test_rounding_is_passed_straight_through(kind):
    scale, zero, low, high = QUANTIZED.get(kind, (np.float32(0.01), None, 0, 255))
    inputs = "scale" if zero is None else "scale zero"
    nodes = [
        node("QuantizeLinear", f"input {inputs}", "whole"),
        node("MaxPool", "whole", "pooled", kernel_shape=[1, 1]),
        node("DequantizeLinear", f"pooled {inputs}", "output"),
    ]
    weights = {"scale": scale} if zero is None else {"scale": scale, "zero": zero}
    given, own = computed(nodes, weights)
    other = given.detach().clone().requires_grad_()
    wanted = torch.fake_quantize_per_tensor_affine(other, float(scale), int(zero or 0), low, high)
    close(own.detach().numpy(), wanted.detach().numpy())
    found = torch.autograd.grad((own * own.detach()).sum(), given)[0]
    reference = torch.autograd.grad((wanted * wanted.detach()).sum(), other)[0]
    assert 0.05 < (found == 0).float().mean() < 0.95  # what is clipped has no gradient
    close(found.numpy(), reference.numpy())


def test_channels_may_have_scales_of_their_own():
    scale, zero = np.array([0.01, 0.02, 0.04, 0.1], np.float32), np.zeros(4, np.int8)
    nodes = [
        node("QuantizeLinear", "input scale zero", "whole", axis=1),
        node("DequantizeLinear", "whole scale zero", "output", axis=1),
    ]
    given, own = computed(nodes, {"scale": scale, "zero": zero})
    wanted = torch.fake_quantize_per_channel_affine(
        given, torch.from_numpy(scale), torch.zeros(4, dtype=torch.int32), 1, -128, 127
    )
    close(own.detach().numpy(), wanted.detach().numpy())


SEVERAL = {"Range", "ConstantOfShape", "Not", "And", "Or", "Xor", "QuantizeLinear"}
SEVERAL |= {"DequantizeLinear"}
"""The operators whose tests have graphs of several nodes."""


def test_every_operator_is_tested():
    assert {case.kind for case in CASES} | SEVERAL == set(OPERATORS)


def test_the_documentation_lists_every_operator():
    groups = {}
    for name, operator in sorted(OPERATORS.items()):
        groups.setdefault(operator.compute.__module__.rpartition(".")[2], []).append(f"`{name}`")
    rows = [f"| {group} | {', '.join(names)} |" for group, names in sorted(groups.items())]
    table = "\n".join(["| group | operators |", "| --- | --- |", *rows])
    assert table in DOCUMENTATION.read_text("utf-8"), f"The table should be:\n\n{table}\n"


def close(found, wanted):
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= 1e-4 * max(np.abs(wanted).max(), 1e-6)
