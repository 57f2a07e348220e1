from concurrent.futures import ThreadPoolExecutor
from random import Random

import cv2
import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from defenses import DefenseError, ImageError, OnnxNetwork

BLUR = np.full((3, 3), 1 / 9)


def photograph(size=(20, 31)):
    return np.random.default_rng(0).integers(0, 256, (*size, 3), dtype=np.uint8)


@pytest.fixture
def load(tmp_path):
    """Make an operation from the bytes of a graph."""

    def made(graph):
        (tmp_path / "network.onnx").write_bytes(graph)
        return OnnxNetwork(file=str(tmp_path / "network.onnx"))

    return made


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("batch", [1, "n"])
def test_the_image_goes_through_the_network(channels_last, batch, load, make_network):
    operation = load(make_network(BLUR, channels_last=channels_last, batch=batch))
    assert not operation.random
    image = photograph()
    expected = cv2.blur(image.astype(np.float64), (3, 3), borderType=cv2.BORDER_CONSTANT)
    np.testing.assert_allclose(operation(image, Random()), expected, atol=0.51)
    as_float = image / np.float32(255)
    np.testing.assert_allclose(operation(as_float, Random()), expected / 255, atol=1e-6)


@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_the_identity_changes_nothing_and_shares_nothing(channels_last, dtype, load, make_graph):
    shape = [1, "h", "w", 3] if channels_last else [1, 3, "h", "w"]
    node = helper.make_node("Identity", ["x"], ["y"])
    operation = load(make_graph([node], ("x", "y"), shape))
    image = photograph() if dtype is np.uint8 else photograph() / np.float32(255)
    defended = operation(image, Random())
    np.testing.assert_array_equal(defended, image)
    assert not np.shares_memory(defended, image)


def test_the_output_is_clipped(load, make_network):
    image = photograph()
    defended = load(make_network([[3.0]]))(image, Random())
    np.testing.assert_array_equal(defended, np.minimum(3 * image.astype(int), 255))
    assert not load(make_network([[-1.0]]))(image, Random()).any()


def test_fixed_sides_must_be_those_of_the_image(load, make_network):
    operation = load(make_network(BLUR, sides=(20, 31)))
    assert operation(photograph(), Random()).shape == (20, 31, 3)
    with pytest.raises(ImageError, match="takes images of 20x31 px, not 31x20"):
        operation.sample(Random(), (31, 20, 3))
    one = load(make_network(BLUR, sides=("h", 31)))
    one.sample(Random(), (99, 31))
    with pytest.raises(ImageError, match="anyx31 px, not 99x32"):
        one.sample(Random(), (99, 32))


@pytest.mark.parametrize(
    ("shape", "made", "element", "said"),
    [
        ([1, 3, 9, 9], None, TensorProto.DOUBLE, r"the input 'x', tensor\(double\)"),
        ([2, 3, 9, 9], None, TensorProto.FLOAT, r"the input 'x', .* \(2, 3, 9, 9\)"),
        ([1, 4, 9, 9], None, TensorProto.FLOAT, r"\(1, 4, 9, 9\); it must be tensor\(float\)"),
        (
            ["n", "c", "h", "w"],
            None,
            TensorProto.FLOAT,
            r"the input 'x', .* \('n', 'c', 'h', 'w'\)",
        ),
        ([3, 9, 9], None, TensorProto.FLOAT, r"\(3, 9, 9\)"),
    ],
)
def test_a_graph_that_does_not_take_an_image_is_refused(
    shape, made, element, said, load, make_graph
):
    node = helper.make_node("Identity", ["x"], ["y"])
    with pytest.raises(DefenseError, match=f"network.onnx has .*{said}"):
        load(make_graph([node], ("x", "y"), shape, element=element, made=made))


def test_a_classifier_is_refused(load, make_graph):
    nodes = [
        helper.make_node("GlobalAveragePool", ["x"], ["mean"]),
        helper.make_node("Flatten", ["mean"], ["scores"]),
    ]
    with pytest.raises(DefenseError, match=r"the output 'scores', .* \(1, 3\)"):
        load(make_graph(nodes, ("x", "scores"), [1, 3, "h", "w"], made=[1, 3]))


def test_channels_that_move_are_refused(load, make_graph):
    node = helper.make_node("Transpose", ["x"], ["y"], perm=[0, 2, 3, 1])
    with pytest.raises(DefenseError, match="channels on different axes"):
        load(make_graph([node], ("x", "y"), [1, 3, "h", "w"], made=[1, "h", "w", 3]))


def test_two_outputs_are_refused(load):
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 3, 9, 9]) for name in "xyz"
    ]
    nodes = [helper.make_node("Identity", ["x"], [name]) for name in "yz"]
    model = helper.make_model(
        helper.make_graph(nodes, "two", values[:1], values[1:]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    with pytest.raises(DefenseError, match="1 inputs and 2 outputs"):
        load(model.SerializeToString())


def test_an_output_of_unknown_layout_has_the_layout_of_the_input(load, make_graph):
    node = helper.make_node("Identity", ["x"], ["y"])
    operation = load(make_graph([node], ("x", "y"), [1, 3, "h", "w"], made=["a", "b", "c", "d"]))
    np.testing.assert_array_equal(operation(photograph(), Random()), photograph())


def test_an_output_of_another_size_is_an_error(load, make_graph):
    node = helper.make_node("MaxPool", ["x"], ["y"], kernel_shape=[2, 2])
    operation = load(make_graph([node], ("x", "y"), [1, 3, "h", "w"], made=[1, 3, "i", "j"]))
    with pytest.raises(DefenseError, match=r"into \(1, 3, 19, 30\)"):
        operation(photograph(), Random())


def test_an_output_that_is_not_finite_is_an_error(load, make_graph):
    node = helper.make_node("Log", ["x"], ["y"])
    operation = load(make_graph([node], ("x", "y"), [1, 3, "h", "w"]))
    with pytest.raises(DefenseError, match="not finite"):
        operation(np.zeros((9, 9, 3), np.uint8), Random())


def test_a_network_that_fails_on_a_size_is_an_error(load, make_graph):
    """Many networks halve the sides and fail on odd sides."""
    weight = numpy_helper.from_array(np.ones((1, 3, 20, 1), np.float32), "weight")
    node = helper.make_node("Add", ["x", "weight"], ["y"])
    operation = load(make_graph([node], ("x", "y"), [1, 3, "h", "w"], [weight]))
    assert operation(photograph(), Random()).shape == (20, 31, 3)
    with pytest.raises(DefenseError, match=r"failed on an image \(1, 3, 21, 31\)\.$") as caught:
        operation(photograph((21, 31)), Random())
    assert "Add" in str(caught.value.__cause__)  # for the log, not for clients


def test_threads_may_share_an_operation():
    operation = OnnxNetwork(file="blur.onnx")
    images = [np.full((40, 50, 3), value, np.uint8) for value in range(0, 250, 10)]
    expected = [operation(image, Random()) for image in images]
    with ThreadPoolExecutor(4) as pool:
        made = pool.map(lambda image: operation(image, Random()), images)
        for one, wanted in zip(made, expected, strict=True):
            np.testing.assert_array_equal(one, wanted)
