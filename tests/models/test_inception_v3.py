"""Inception V3's graph computes what Keras's model computes with the same weights."""

import os

# Keras reads these when it is imported.
os.environ.setdefault("KERAS_BACKEND", "torch")
os.environ.setdefault("KERAS_TORCH_DEVICE", "cpu")

import re
from collections.abc import Callable, Iterator

import keras
import numpy as np
import onnx
import onnxruntime as ort
import pytest
import torch
from numpy.typing import NDArray

from models.errors import WeightsError
from models.inception_v3 import build_inception_v3
from models.manifest import Scaling

State = dict[str, NDArray[np.float32]]
Forward = Callable[[NDArray[np.float32]], NDArray[np.float32]]

CLASSES = 50


def torchvision_names() -> Iterator[str]:
    """Yield torchvision's names of the convolutions, in the order in which Keras creates them."""
    blocks = {
        "Mixed_5b Mixed_5c Mixed_5d": "branch1x1 branch5x5_1 branch5x5_2 branch3x3dbl_1 "
        "branch3x3dbl_2 branch3x3dbl_3 branch_pool",
        "Mixed_6a": "branch3x3 branch3x3dbl_1 branch3x3dbl_2 branch3x3dbl_3",
        "Mixed_6b Mixed_6c Mixed_6d Mixed_6e": "branch1x1 branch7x7_1 branch7x7_2 branch7x7_3 "
        "branch7x7dbl_1 branch7x7dbl_2 branch7x7dbl_3 branch7x7dbl_4 branch7x7dbl_5 branch_pool",
        "Mixed_7a": "branch3x3_1 branch3x3_2 branch7x7x3_1 branch7x7x3_2 branch7x7x3_3 "
        "branch7x7x3_4",
        "Mixed_7b Mixed_7c": "branch1x1 branch3x3_1 branch3x3_2a branch3x3_2b branch3x3dbl_1 "
        "branch3x3dbl_2 branch3x3dbl_3a branch3x3dbl_3b branch_pool",
    }
    yield from ["Conv2d_1a_3x3", "Conv2d_2a_3x3", "Conv2d_2b_3x3", "Conv2d_3b_1x1", "Conv2d_4a_3x3"]
    for group, convolutions in blocks.items():
        for block in group.split():
            yield from (f"{block}.{convolution}" for convolution in convolutions.split())


def created(model: keras.Model, kind: type[keras.layers.Layer]) -> list[keras.layers.Layer]:
    """Return the layers of one kind in the order of their creation, which their names number."""

    def number(layer: keras.layers.Layer) -> int:
        match = re.search(r"_(\d+)$", layer.name)
        return int(match[1]) if match else 0

    return sorted((layer for layer in model.layers if type(layer) is kind), key=number)


def set_weights(layer: keras.layers.Layer, *values: NDArray[np.float32]) -> None:
    for variable, value in zip(layer.weights, values, strict=True):
        variable.assign(value)


def load_features(model: keras.Model, state: State) -> None:
    """Put a state dict in torchvision's naming into Keras's model, without the classifier."""
    names = list(torchvision_names())
    convolutions = created(model, keras.layers.Conv2D)
    norms = created(model, keras.layers.BatchNormalization)
    for name, convolution, norm in zip(names, convolutions, norms, strict=True):
        assert not convolution.use_bias
        assert norm.epsilon == 1e-3
        set_weights(convolution, state[f"{name}.conv.weight"].transpose(2, 3, 1, 0))
        keys = ("bias", "running_mean", "running_var")
        set_weights(norm, *(state[f"{name}.bn.{key}"] for key in keys))


def load(model: keras.Model, state: State) -> None:
    load_features(model, state)
    set_weights(model.get_layer("predictions"), state["fc.weight"].T, state["fc.bias"])


def random_state(model: keras.Model) -> State:
    """Make weights and statistics for every layer. Activations neither die nor explode."""
    rng = np.random.default_rng(17)
    state = {}
    convolutions = created(model, keras.layers.Conv2D)
    for name, convolution in zip(torchvision_names(), convolutions, strict=True):
        rows, columns, given, made = convolution.kernel.shape
        deviation = (2 / (rows * columns * given)) ** 0.5
        state[f"{name}.conv.weight"] = rng.normal(0, deviation, (made, given, rows, columns))
        state[f"{name}.bn.bias"] = rng.normal(0, 0.2, made)
        state[f"{name}.bn.running_mean"] = rng.normal(0, 0.2, made)
        state[f"{name}.bn.running_var"] = rng.uniform(0.5, 1.2, made)
    state["fc.weight"] = rng.normal(0, 0.05, (CLASSES, 2048))
    state["fc.bias"] = rng.normal(0, 0.1, CLASSES)
    return {name: value.astype(np.float32) for name, value in state.items()}


def count_padding(layer: keras.layers.Layer) -> keras.layers.Layer:
    """Copy a layer; the copy of an average pool pads with zeros before it averages."""
    if not isinstance(layer, keras.layers.AveragePooling2D):
        return layer.__class__.from_config(layer.get_config())
    assert (layer.pool_size, layer.strides, layer.padding) == ((3, 3), (1, 1), "same")
    pad, average = keras.layers.ZeroPadding2D(1), keras.layers.AveragePooling2D(3, 1, "valid")
    return keras.Sequential([pad, average], name=layer.name)


def forward(model: keras.Model) -> Forward:
    def run(x: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            return model(torch.from_numpy(x.transpose(0, 2, 3, 1).copy())).numpy()

    return run


@pytest.fixture(scope="module")
def keras_model() -> keras.Model:
    return keras.applications.InceptionV3(weights=None, classes=CLASSES, classifier_activation=None)


@pytest.fixture(scope="module")
def state(keras_model: keras.Model) -> State:
    state = random_state(keras_model)
    load(keras_model, state)
    return state


@pytest.fixture(scope="module")
def images() -> NDArray[np.float32]:
    """Two images of coloured blocks, one coarse and one fine, in [-1, 1]."""
    rng = np.random.default_rng(23)
    coarse, fine = rng.uniform(-1, 1, (3, 13, 13)), rng.uniform(-0.5, 0.5, (3, 100, 100))
    images = [
        np.kron(coarse, np.ones((1, 23, 23))),
        np.kron(fine, np.ones((1, 3, 3)))[:, :299, :299],
    ]
    return np.stack(images).astype(np.float32)


@pytest.fixture(scope="module")
def logits(state: State, images: NDArray[np.float32]) -> dict[bool, NDArray[np.float32]]:
    """The graph's logits, with and without padding that counts."""
    return {
        counts: run(build_inception_v3(state, average_pool_counts_padding=counts), images)
        for counts in (False, True)
    }


def run(model: onnx.ModelProto, x: NDArray[np.float32]) -> NDArray[np.float32]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 2
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (output,) = session.run(["logits"], {"input": x})
    return output


def difference(actual: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    assert actual.shape == expected.shape
    return float(np.abs(actual - expected).max() / np.abs(expected).max())


def test_keras_backend():
    assert keras.backend.backend() == "torch"
    assert keras.config.image_data_format() == "channels_last"
    assert len(set(torchvision_names())) == 94


def test_equals_keras_where_padding_is_not_counted(keras_model, state, images, logits):
    expected = forward(keras_model)(images)
    # Otherwise an error in the network could hide behind the classifier's bias.
    assert 0.3 < np.abs(expected).max() < 1000
    assert difference(expected[1:], expected[:1]) > 0.1
    assert difference(logits[False], expected) < 1e-4


def test_equals_keras_where_padding_is_counted(keras_model, state, images, logits):
    padded = keras.models.clone_model(keras_model, clone_function=count_padding)
    assert sum(isinstance(layer, keras.Sequential) for layer in padded.layers) == 9
    load(padded, state)
    assert difference(logits[True], forward(padded)(images)) < 1e-4


def test_counting_padding_makes_a_difference(logits):
    assert difference(logits[True], logits[False]) > 0.01


def test_batch_size_is_open_and_auxiliary_tensors_are_ignored(state, images, logits):
    extra = {
        "AuxLogits.conv0.conv.weight": np.zeros((128, 768, 1, 1), np.float32),
        "AuxLogits.fc.bias": np.zeros(CLASSES, np.float32),
        "Conv2d_1a_3x3.bn.num_batches_tracked": np.zeros((), np.int64),
    }
    model = build_inception_v3({**state, **extra}, average_pool_counts_padding=False)
    (given,), (made,) = model.graph.input, model.graph.output
    shapes = [
        [d.dim_param or d.dim_value for d in v.type.tensor_type.shape.dim] for v in (given, made)
    ]
    assert (given.name, made.name) == ("input", "logits")
    assert shapes == [["batch", 3, 299, 299], ["batch", CLASSES]]
    for index in (0, 1):
        alone = run(model, images[index : index + 1])
        assert difference(alone, logits[False][index : index + 1]) < 1e-5


def test_gamma_is_folded_in(state, images, logits):
    """A gamma changes nothing if the variance compensates for it."""
    rng = np.random.default_rng(29)
    scaled = dict(state)
    for name in torchvision_names():
        variance = state[f"{name}.bn.running_var"].astype(np.float64)
        gamma = rng.uniform(0.5, 2.0, variance.shape)
        scaled[f"{name}.bn.weight"] = gamma.astype(np.float32)
        scaled[f"{name}.bn.running_var"] = (gamma**2 * (variance + 1e-3) - 1e-3).astype(np.float32)
    model = build_inception_v3(scaled, average_pool_counts_padding=True)
    assert difference(run(model, images), logits[True]) < 1e-4


@pytest.mark.parametrize("size", [75, 160])
def test_other_sizes(state, size):
    x = np.random.default_rng(size).uniform(-1, 1, (1, 3, size, size)).astype(np.float32)
    model = build_inception_v3(state, average_pool_counts_padding=False, size_px=size)
    headless = keras.applications.InceptionV3(
        weights=None, include_top=False, pooling="avg", input_shape=(size, size, 3)
    )
    load_features(headless, state)
    expected = forward(headless)(x) @ state["fc.weight"].T + state["fc.bias"]
    assert difference(run(model, x), expected) < 1e-4


def test_an_input_that_is_too_small_is_refused(state):
    with pytest.raises(WeightsError, match="the input is too small"):
        build_inception_v3(state, average_pool_counts_padding=False, size_px=74)


@pytest.mark.parametrize(
    ("name", "shape", "expected"),
    [
        ("Conv2d_1a_3x3.conv.weight", (32, 1, 3, 3), r"\(32, 3, 3, 3\)"),
        ("Mixed_5b.branch_pool.conv.weight", (64, 192, 1, 1), r"\(32, 192, 1, 1\)"),
        ("Mixed_6c.branch7x7_2.conv.weight", (160, 160, 7, 1), r"\(160, 160, 1, 7\)"),
        ("Mixed_7b.branch3x3_2b.bn.running_var", (383,), r"\(384\)"),
        ("fc.weight", (CLASSES, 2047), r"\(any, 2048\)"),
        ("fc.bias", (CLASSES + 1,), rf"\({CLASSES}\)"),
    ],
)
def test_a_missing_or_misshapen_tensor_is_named(state, name, shape, expected):
    without = {key: value for key, value in state.items() if key != name}
    with pytest.raises(WeightsError, match=f"needs the tensor {name}, which is missing"):
        build_inception_v3(without, average_pool_counts_padding=True)
    with pytest.raises(WeightsError, match=f"{name} has the shape .*, expected {expected}"):
        build_inception_v3(
            {**state, name: np.zeros(shape, np.float32)}, average_pool_counts_padding=True
        )


PIXELS = np.arange(256, dtype=np.float64)[:, None].repeat(3, 1).reshape(1, 16, 16, 3)
SCALING = Scaling(mean=(127.5, 127.5, 127.5), std=(127.5, 127.5, 127.5))
SCALED = (PIXELS - SCALING.mean) / SCALING.std


def test_scaling_is_that_of_keras():
    preprocessed = keras.applications.inception_v3.preprocess_input(PIXELS.copy())
    np.testing.assert_allclose(SCALED, preprocessed, atol=1e-6)
    np.testing.assert_allclose(SCALED, (PIXELS / 255 - 0.5) / 0.5, atol=1e-12)


def test_scaling_is_that_of_torchvision_after_transform_input():
    """torchvision's ``Inception3._transform_input``, on an input normalised for ImageNet."""
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    normalised = (PIXELS / 255 - mean) / std
    transformed = normalised * (std / 0.5) + (mean - 0.5) / 0.5
    np.testing.assert_allclose(SCALED, transformed, atol=1e-12)
