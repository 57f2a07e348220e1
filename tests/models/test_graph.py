"""The graph builder: each layer equals torch's layer, and a tensor that does not fit is refused."""

import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
import torch.nn.functional as F  # noqa: N812 (torch's own convention)
from numpy.typing import NDArray

from models.errors import WeightsError
from models.graph import GraphBuilder

EPS = 1e-3


def norm(rng: np.random.Generator, name: str, channels: int) -> dict[str, NDArray[np.float32]]:
    values = {
        "weight": rng.uniform(0.5, 1.5, channels),
        "bias": rng.normal(0, 1, channels),
        "running_mean": rng.normal(0, 1, channels),
        "running_var": rng.uniform(0.2, 3.0, channels),
    }
    return {f"{name}.{key}": value.astype(np.float32) for key, value in values.items()}


def example_weights(
    shape: tuple[int, ...] = (5, 3, 3, 3), classes: int = 7
) -> dict[str, NDArray[np.float32]]:
    """Make a convolution of this shape, its normalisation, and a classifier of its channels."""
    rng = np.random.default_rng(3)
    weights = {"c.weight": rng.normal(0, 0.5, shape), **norm(rng, "n", shape[0])}
    weights |= {
        "fc.weight": rng.normal(0, 1, (classes, shape[0])),
        "fc.bias": rng.normal(0, 1, classes),
    }
    return {name: value.astype(np.float32) for name, value in weights.items()}


def images(size: int, batch: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(5).normal(0, 1, (batch, 3, size, size)).astype(np.float32)


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(["logits"], {"input": x})
    return output


def classify(weights, y: torch.Tensor) -> NDArray[np.float32]:
    """Apply torch's average pool and classifier."""
    pooled = y.mean((2, 3))
    return F.linear(pooled, tensor(weights, "fc.weight"), tensor(weights, "fc.bias")).numpy()


def tensor(weights, name: str) -> torch.Tensor:
    return torch.from_numpy(weights[name])


def normalised(weights, y: torch.Tensor) -> torch.Tensor:
    statistics = [tensor(weights, f"n.{key}") for key in ("running_mean", "running_var")]
    return F.batch_norm(
        y, *statistics, tensor(weights, "n.weight"), tensor(weights, "n.bias"), eps=EPS
    )


def finish(net: GraphBuilder, x) -> onnx.ModelProto:
    return net.model(net.fully_connected(net.global_average_pool(x, "pool"), "fc"))


def conv_model(weights, size: int = 9, **options) -> onnx.ModelProto:
    net = GraphBuilder("test", weights, size)
    options = {"kernel": (3, 3), "eps": EPS, "activation": None, **options}
    return finish(net, net.conv(net.input, "c", "n", **options))


@pytest.mark.parametrize(
    ("activation", "function"), [(None, lambda y: y), ("relu", F.relu), ("relu6", F.relu6)]
)
def test_convolution_with_folded_normalisation(activation, function):
    weights, x = example_weights(), images(9) * 4
    y = F.conv2d(torch.from_numpy(x), tensor(weights, "c.weight"), stride=2, padding=1)
    y = normalised(weights, y)
    if activation == "relu6":
        assert y.max() > 6
    model = conv_model(weights, stride=2, padding=(1, 1), activation=activation)
    np.testing.assert_allclose(run(model, x), classify(weights, function(y)), rtol=1e-4, atol=1e-5)


def test_normalisation_without_gamma():
    weights, x = example_weights(), images(9)
    with_ones = {**weights, "n.weight": np.ones(5, np.float32)}
    without = {name: value for name, value in weights.items() if name != "n.weight"}
    np.testing.assert_array_equal(
        run(conv_model(without, scaled=False), x), run(conv_model(with_ones), x)
    )
    # An existing gamma counts, even if it is optional.
    assert not np.allclose(
        run(conv_model(weights, scaled=False), x), run(conv_model(with_ones), x), rtol=0.01
    )
    with pytest.raises(WeightsError, match=r"test needs the tensor n\.weight, which is missing"):
        conv_model(without)


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads", "made"),
    [
        (299, 3, 2, (1, 1), 150),
        (224, 3, 2, (0, 1), 112),
        (150, 5, 2, (1, 2), 75),
        (75, 5, 2, (2, 2), 38),
        (19, 5, 1, (2, 2), 19),
        (7, 1, 1, (0, 0), 7),
        (7, 1, 2, (0, 0), 4),
    ],
)
def test_same_padding_as_in_tensorflow(size, kernel, stride, pads, made):
    weights, x = example_weights((4, 3, kernel, kernel)), images(size, batch=1)
    net = GraphBuilder("test", weights, size)
    y = net.conv(
        net.input,
        "c",
        "n",
        kernel=(kernel, kernel),
        stride=stride,
        padding="same",
        eps=EPS,
        activation=None,
    )
    assert (y.channels, y.height, y.width) == (4, made, made)
    padded = F.pad(torch.from_numpy(x), pads * 2)
    expected = normalised(weights, F.conv2d(padded, tensor(weights, "c.weight"), stride=stride))
    assert expected.shape[2:] == (made, made)
    np.testing.assert_allclose(
        run(finish(net, y), x), classify(weights, expected), rtol=1e-4, atol=1e-5
    )


def test_rectangular_kernel_pads_rows_and_columns_apart():
    weights, x = example_weights((4, 3, 1, 7)), images(9)
    y = F.conv2d(torch.from_numpy(x), tensor(weights, "c.weight"), padding=(0, 3))
    expected = classify(weights, normalised(weights, y))
    for padding in ("same", (0, 3)):
        model = conv_model(weights, kernel=(1, 7), padding=padding)
        np.testing.assert_allclose(run(model, x), expected, rtol=1e-4, atol=1e-5)


def test_depthwise_convolution():
    weights, x = example_weights((3, 1, 3, 3)), images(9)
    y = F.conv2d(torch.from_numpy(x), tensor(weights, "c.weight"), groups=3)
    np.testing.assert_allclose(
        run(conv_model(weights, groups=3, channels=3), x),
        classify(weights, normalised(weights, y)),
        rtol=1e-4,
        atol=1e-5,
    )


def pooling_model(size: int, layer) -> onnx.ModelProto:
    """Make a model of a layer with three channels, whose output is each channel's mean."""
    net = GraphBuilder("test", {"fc.weight": np.eye(3), "fc.bias": np.zeros(3)}, size)
    return finish(net, layer(net))


@pytest.mark.parametrize(
    ("counts_padding", "corner", "edge"), [(True, 4 / 9, 6 / 9), (False, 1, 1)]
)
@pytest.mark.parametrize("padding", ["same", (1, 1)])
def test_average_pool_counts_its_padding_or_not(padding, counts_padding, corner, edge):
    model = pooling_model(
        4,
        lambda net: net.average_pool(
            net.input, "a", kernel=3, stride=1, padding=padding, counts_padding=counts_padding
        ),
    )
    ones = np.ones((1, 3, 4, 4), np.float32)
    mean = (4 * corner + 8 * edge + 4) / 16
    np.testing.assert_allclose(run(model, ones), np.full((1, 3), mean), rtol=1e-6)
    x = images(4)
    expected = F.avg_pool2d(torch.from_numpy(x), 3, 1, 1, count_include_pad=counts_padding)
    np.testing.assert_allclose(run(model, x), expected.mean((2, 3)), rtol=1e-4, atol=1e-6)


def test_max_pool():
    x = images(9) - 10  # all negative, so that a padding of zeros would be the maximum
    valid = pooling_model(9, lambda net: net.max_pool(net.input, "m", kernel=3, stride=2))
    expected = F.max_pool2d(torch.from_numpy(x), 3, 2)
    np.testing.assert_allclose(run(valid, x), expected.mean((2, 3)), rtol=1e-5)
    padded = pooling_model(
        9, lambda net: net.max_pool(net.input, "m", kernel=3, stride=2, padding=(1, 1))
    )
    expected = F.max_pool2d(torch.from_numpy(x), 3, 2, 1)
    assert expected.max() < 0
    np.testing.assert_allclose(run(padded, x), expected.mean((2, 3)), rtol=1e-5)


def test_add_and_concat():
    x = images(4)
    doubled = pooling_model(4, lambda net: net.add(net.input, net.input, "sum"))
    np.testing.assert_allclose(run(doubled, x), 2 * x.mean((2, 3)), rtol=1e-4, atol=1e-6)

    net = GraphBuilder("test", {"fc.weight": np.eye(6), "fc.bias": np.zeros(6)}, 4)
    sums = net.add(net.input, net.input, "sum")
    joined = net.concat([net.input, sums], "joined")
    assert (joined.channels, joined.height, joined.width) == (6, 4, 4)
    means = x.mean((2, 3))
    np.testing.assert_allclose(
        run(finish(net, joined), x), np.concatenate([means, 2 * means], 1), rtol=1e-4, atol=1e-6
    )


def test_adding_or_joining_maps_of_different_sizes_is_refused():
    net = GraphBuilder("test", {}, 9)
    small = net.max_pool(net.input, "small", kernel=3, stride=2)
    with pytest.raises(WeightsError, match=r"sum adds small \(3, 4, 4\) to input \(3, 9, 9\)"):
        net.add(net.input, small, "sum")
    with pytest.raises(WeightsError, match=r"joined concatenates .* \[\(4, 4\), \(9, 9\)\]"):
        net.concat([net.input, small], "joined")


def test_interface_of_the_model():
    model = conv_model(example_weights())
    (given,), (made,) = model.graph.input, model.graph.output

    def shape(value):
        return [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim]

    assert (given.name, shape(given)) == ("input", ["batch", 3, 9, 9])
    assert (made.name, shape(made)) == ("logits", ["batch", 7])
    assert {v.type.tensor_type.elem_type for v in (given, made)} == {onnx.TensorProto.FLOAT}
    # ONNX Runtime 1.17 reads up to these: https://onnxruntime.ai/docs/reference/compatibility.html
    assert model.ir_version <= 9
    assert [(o.domain, o.version <= 20) for o in model.opset_import] == [("", True)]


@pytest.mark.parametrize("batch", [1, 4])
def test_batch_size_is_open(batch):
    weights, x = example_weights(), images(9, batch=4)
    model = conv_model(weights)
    np.testing.assert_allclose(run(model, x[:batch]), run(model, x)[:batch], rtol=1e-5, atol=1e-6)


def test_same_weights_give_the_same_bytes():
    weights = example_weights()
    shuffled = dict(reversed(weights.items()))
    model = conv_model(weights).SerializeToString()
    assert conv_model(shuffled).SerializeToString() == model
    weights["c.weight"][0, 0, 0, 0] += 1
    assert conv_model(weights).SerializeToString() != model


def without(name):
    return lambda weights: weights.pop(name)


def change(name, function):
    return lambda weights: weights.update({name: function(weights[name])})


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (without("c.weight"), "test needs the tensor c.weight, which is missing"),
        (without("n.running_var"), "test needs the tensor n.running_var, which is missing"),
        (without("fc.bias"), "test needs the tensor fc.bias, which is missing"),
        (
            change("c.weight", lambda v: v[:, :2]),
            "c.weight has the shape (5, 2, 3, 3), expected (any, 3, 3, 3)",
        ),
        (
            change("c.weight", lambda v: v[:0]),
            "c.weight has the shape (0, 3, 3, 3), expected (any, 3, 3, 3)",
        ),
        (change("n.bias", lambda v: v[:4]), "n.bias has the shape (4,), expected (5)"),
        (change("n.weight", lambda v: v[:, None]), "n.weight has the shape (5, 1), expected (5)"),
        (
            change("fc.weight", lambda v: v[:, 1:]),
            "fc.weight has the shape (7, 4), expected (any, 5)",
        ),
        (change("fc.bias", lambda v: v[1:]), "fc.bias has the shape (6,), expected (7)"),
        (
            change("n.running_var", lambda v: v - 5),
            "n.running_var has values that are not variances",
        ),
        (change("n.running_var", lambda v: v * np.nan), "n.running_var has values that are not"),
        (change("n.running_var", lambda v: v * np.inf), "n.running_var has values that are not"),
        (change("n.running_mean", lambda v: v * np.inf), "c.bias is not finite"),
        (change("c.weight", lambda v: v * np.inf), "c.weight is not finite"),
        (change("n.weight", lambda v: np.full_like(v, 3e38)), "c.weight is not finite"),
        (change("n.bias", lambda v: v * np.nan), "c.bias is not finite"),
        (change("fc.bias", lambda v: v + np.inf), "fc.bias is not finite"),
    ],
)
def test_tensor_that_does_not_fit_is_named(spoil, said):
    weights = example_weights()
    spoil(weights)
    with pytest.raises(WeightsError) as caught:
        conv_model(weights)
    assert said in str(caught.value)


def test_tensor_that_has_no_place_is_named():
    weights = {**example_weights(), "n.num_batches_tracked": np.zeros(())}
    conv_model(weights)
    weights["se.weight"] = np.zeros(3)
    with pytest.raises(WeightsError, match=r"no place for 1 of the tensors: se\.weight"):
        conv_model(weights)


def test_window_larger_than_its_input_is_refused():
    with pytest.raises(WeightsError, match=r"c needs at least \(3, 3\) .* has \(2, 2\)"):
        conv_model(example_weights(), size=2)
    assert run(conv_model(example_weights(), size=3), images(3)).shape == (2, 7)
