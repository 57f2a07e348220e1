"""The promises of every operation, on odd sizes and in both dtypes."""

import subprocess
import sys
from random import Random, SystemRandom

import numpy as np
import pytest

from defenses import OPERATIONS, DefenseError, ImageError, Pipeline

SIZES = [(8, 8), (9, 17), (101, 99), (299, 299), (64, 200)]
SPECIFICATIONS = [
    "none",
    "fd",
    "fd*3",
    "fd(phase=random)",
    "rdg",
    "rdg(delta=1.0)",
    "rand",
    "fd+rdg",
    "fd+rand",
    "fd*2+rdg",
    "bitdepth",
    "jpeg",
    "jpeg(subsampling=444)",
    "shield",
    "shield(qualities=50)",
    "crop",
    "crop(fraction=1)",
    "jpeg+crop",
    "deflect",
    "deflect(sigma=0)",
    "deflect(deflections=0)",
    "tvm",
    "tvm(keep=1)",
    "menet",
    "menet(keep_low=0.4,keep_high=0.6)",
    "menet(keep_low=1)",
    "quilt(bank=bank.npz)",
    "quilt(bank=bank.npz,nearest=1,overlap=1)",
    "onnx(file=blur.onnx)",
    "rdg+onnx(file=./blur.onnx)",
]


def photograph(size: tuple[int, int], dtype: type) -> np.ndarray:
    """Return a smooth image with some noise that reaches both ends of the range."""
    generator = np.random.default_rng(7)
    y, x = np.mgrid[: size[0], : size[1]]
    waves = np.stack([np.sin(x / 9 + c) * np.cos(y / 13 - c) for c in range(3)], axis=-1)
    values = np.clip(127.5 + 140 * waves + generator.normal(0, 6, waves.shape), 0, 255)
    return values.astype(np.uint8) if dtype is np.uint8 else (values / 255).astype(np.float32)


def test_every_operation_is_tested_here():
    assert set(OPERATIONS) <= {written.partition("(")[0] for written in SPECIFICATIONS}


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_same_shape_dtype_and_range_and_the_input_untouched(specification, dtype, size):
    operation = Pipeline.parse(specification)
    image = photograph(size, dtype)
    before = image.copy()
    image.flags.writeable = False

    params = operation.sample(Random(3), image.shape)
    defended = operation.apply(image, params)

    assert defended.shape == image.shape
    assert defended.dtype == image.dtype
    assert defended.flags.c_contiguous
    assert not np.shares_memory(defended, image)
    assert defended.min() >= 0
    assert defended.max() <= (255 if dtype is np.uint8 else 1)
    np.testing.assert_array_equal(image, before)
    np.testing.assert_array_equal(operation.apply(image, params), defended)

    grad = np.random.default_rng(1).normal(size=image.shape)
    for precision in (np.float32, np.float64):
        upstream = grad.astype(precision)
        gradient = operation.vjp(upstream, params)
        assert gradient.shape == image.shape
        assert gradient.dtype == precision
        assert not np.shares_memory(gradient, upstream)


@pytest.mark.parametrize("specification", [s for s in SPECIFICATIONS if "*" not in s])
def test_uint8_and_float32_agree(specification):
    operation = Pipeline.parse(specification)
    image = photograph((101, 99), np.uint8)
    params = operation.sample(Random(3), image.shape)
    exact = operation.apply(image.astype(np.float32) / 255, params) * 255
    rounded = operation.apply(image, params).astype(np.float32)
    assert (np.abs(exact - rounded) > 1.5).mean() < 0.01


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_random_says_whether_two_draws_differ(specification):
    operation = Pipeline.parse(specification)
    image = photograph((101, 99), np.uint8)
    rng = SystemRandom()
    outputs = set()
    for _ in range(64 if operation.random else 8):  # eight draws may be equal by chance
        outputs.add(operation(image, rng).tobytes())
        if len(outputs) > 1:
            break
    assert (len(outputs) > 1) is operation.random


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_a_seeded_generator_repeats_the_draw(specification):
    operation = Pipeline.parse(specification)
    image = photograph((64, 200), np.float32)
    np.testing.assert_array_equal(operation(image, Random(5)), operation(image, Random(5)))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize(
    ("image", "said"),
    [
        (np.zeros((16, 16, 3), np.float64), "float64"),
        (np.zeros((16, 16, 4), np.uint8), r"\(16, 16, 4\)"),
        (np.zeros((16, 16), np.uint8), r"\(16, 16\)"),
        (np.zeros((16, 17, 3), np.uint8), r"\(16, 17\)"),
        ([[0]], "list"),
    ],
)
def test_an_array_that_is_not_a_valid_image_is_refused(specification, image, said):
    operation = Pipeline.parse(specification)
    params = operation.sample(Random(0), (16, 16, 3))
    with pytest.raises(ImageError, match=said):
        operation.apply(image, params)


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize(
    ("value", "said"),
    [
        (200.0, r"from 0 to 200: divide by 255, or pass uint8"),
        (1.01, r"from 0 to 1\.01: scale or clip them"),
        (-0.01, r"from -0\.01 to 0: scale or clip them"),
        (np.inf, r"to inf"),
        (np.nan, r"has a NaN"),
    ],
)
def test_a_value_out_of_range_is_refused(specification, value, said):
    operation = Pipeline.parse(specification)
    image = np.zeros((16, 16, 3), np.float32)
    image[7, 9, 1] = value
    with pytest.raises(ImageError, match=said):
        operation(image, Random(0))
    for alone in operation.operations:
        with pytest.raises(ImageError, match=said):
            alone(image, Random(0))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_a_value_beyond_the_range_by_rounding_is_accepted(specification):
    image = np.full((16, 16, 3), 1 + 1e-6, np.float32)
    assert np.isfinite(Pipeline.parse(specification)(image, Random(0))).all()


def test_an_object_without_a_shape_is_refused_before_the_draw():
    with pytest.raises(ImageError, match="list"):
        Pipeline.parse("rdg")([[0]], Random(0))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
@pytest.mark.parametrize(
    "grad", [np.ones((16, 17, 3)), np.ones((16, 16, 3), np.int64), np.ones((16, 16))]
)
def test_a_gradient_of_another_kind_is_refused(specification, grad):
    operation = Pipeline.parse(specification)
    with pytest.raises(ImageError):
        operation.vjp(grad, operation.sample(Random(0), (16, 16)))


@pytest.mark.parametrize("specification", SPECIFICATIONS)
def test_a_side_below_eight_pixels_is_refused(specification):
    with pytest.raises(ImageError, match="at least 8 x 8"):
        Pipeline.parse(specification).sample(Random(0), (7, 100, 3))


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("fd", {"step": 0}),
        ("fd", {"step": float("nan")}),
        ("fd", {"step": "30"}),
        ("fd", {"corner_step": float("inf")}),
        ("fd", {"corner_size": 9}),
        ("fd", {"corner_size": True}),
        ("fd", {"phase": 8}),
        ("fd", {"phase": "fixed"}),
        ("fd", {"phase": 1.0}),
        ("fd", {"passes": 0}),
        ("fd", {"passes": 5}),
        ("rdg", {"delta": -0.1}),
        ("rdg", {"delta": 1.01}),
        ("rdg", {"delta": float("nan")}),
        ("rdg", {"cell": 0}),
        ("rdg", {"cell": 2.5}),
        ("rdg", {"corner": "middle"}),
        ("rand", {"largest": 298}),
        ("rand", {"largest": 401}),
        ("rand", {"canvas": 329}),
        ("rand", {"canvas": 5000}),
        ("rand", {"value": 1.5}),
        ("rand", {"value": None}),
        ("bitdepth", {"bits": 0}),
        ("bitdepth", {"bits": 9}),
        ("bitdepth", {"bits": 3.0}),
        ("jpeg", {"quality": 0}),
        ("jpeg", {"quality": 101}),
        ("jpeg", {"quality": True}),
        ("jpeg", {"subsampling": 421}),
        ("jpeg", {"subsampling": "420"}),
        ("shield", {"qualities": "20-101"}),
        ("shield", {"qualities": "20-20"}),
        ("crop", {"fraction": 0}),
        ("crop", {"fraction": 1.01}),
        ("crop", {"fraction": float("nan")}),
        ("deflect", {"deflections": -1}),
        ("deflect", {"deflections": 1.5}),
        ("deflect", {"window": 0}),
        ("deflect", {"sigma": -0.01}),
        ("deflect", {"sigma": float("nan")}),
        ("tvm", {"keep": 0}),
        ("tvm", {"keep": 1.01}),
        ("tvm", {"weight": 0}),
        ("tvm", {"weight": float("inf")}),
        ("tvm", {"rounds": 0}),
        ("tvm", {"rounds": 2.0}),
        ("menet", {"keep_low": 0}),
        ("menet", {"keep_low": float("nan")}),
        ("menet", {"keep_high": 0.7}),
        ("menet", {"keep_high": 1.1}),
        ("menet", {"fraction": 0}),
        ("menet", {"fraction": True}),
        ("quilt", {"bank": ""}),
        ("quilt", {"bank": "my bank.npz"}),
        ("quilt", {"bank": None}),
        ("quilt", {"bank": "bank.npz", "nearest": 0}),
        ("quilt", {"bank": "bank.npz", "nearest": 101}),
        ("quilt", {"bank": "bank.npz", "nearest": 2.0}),
        ("quilt", {"bank": "bank.npz", "overlap": 0}),
        ("quilt", {"bank": "bank.npz", "overlap": 3}),
        ("onnx", {"file": "blur,sharpen.onnx"}),
        ("onnx", {"file": "blur(1).onnx"}),
        ("onnx", {"file": "brüh.onnx"}),
        ("onnx", {"file": 7}),
    ],
)
def test_a_parameter_out_of_range_is_refused_by_name(name, parameters):
    *_, field = parameters
    # A resized image of 401 px does not fit on rand's default canvas of 400 px.
    culprit = "canvas" if parameters == {"largest": 401} else field
    with pytest.raises(DefenseError, match=f"{name}: {culprit} must be"):
        OPERATIONS[name](**parameters)


def test_every_operation_has_a_summary_and_a_reference():
    for name, operation in OPERATIONS.items():
        assert operation.name == name
        assert operation.summary
        assert "arXiv" in operation.reference


def test_the_package_imports_only_numpy_and_opencv():
    code = (
        "import sys; before = set(sys.modules); import defenses;"
        "print(*{m.partition('.')[0] for m in set(sys.modules) - before} - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) - {"_distutils_hack"} <= {"defenses", "numpy", "cv2"}
