"""The vjp is the exact transpose of an operation's Jacobian, and attackers rely on that."""

from random import Random

import numpy as np
import pytest

from defenses import OPERATIONS, Pipeline
from defenses.index_maps import scatter_add

LINEAR = [
    "rdg",
    "rdg(delta=1.0)",
    "rand",
    "rand(canvas=520,largest=390)",
    "rdg+rand",
    "rand+rdg",
    "crop",
    "crop(fraction=0.3)",
    "crop+rdg",
    "deflect(sigma=0)",
    "deflect(sigma=0,deflections=5000,window=3)",
    "deflect(sigma=0)+crop",
]
STRAIGHT_THROUGH = [
    "fd*2",
    "bitdepth",
    "jpeg",
    "shield",
    "quilt(bank=bank.npz)",
    "onnx(file=blur.onnx)",
]


@pytest.mark.parametrize("size", [(101, 99), (299, 299), (8, 31)])
@pytest.mark.parametrize("specification", LINEAR)
def test_inner_products_agree(specification, size):
    """<g, J v> = <J^T g, v>, where J v = apply(v) - apply(0), because the operations are affine."""
    operation = Pipeline.parse(specification)
    generator = np.random.default_rng(5)
    for seed in range(3):
        draw = operation.sample(Random(seed), size)
        v, g = generator.random((2, *size, 3), np.float32)
        jv = operation.apply(v, draw) - operation.apply(np.zeros_like(v), draw)
        forward = np.vdot(g.astype(np.float64), jv)
        backward = np.vdot(operation.vjp(g.astype(np.float64), draw), v)
        scale = np.linalg.norm(g) * np.linalg.norm(jv)
        assert abs(forward - backward) <= 1e-4 * max(abs(forward), 1e-2 * scale)


@pytest.mark.parametrize("specification", ["rdg(delta=0.9)", "rand", "crop", "deflect(sigma=0)"])
def test_equals_the_transposed_matrix_entry_by_entry(specification):
    operation = Pipeline.parse(specification)
    size = (9, 11)
    draw = operation.sample(Random(2), size)
    count = 9 * 11 * 3
    base = operation.apply(np.zeros((*size, 3), np.float32), draw)
    basis = np.eye(count, dtype=np.float32).reshape(count, *size, 3)
    jacobian = np.stack([(operation.apply(e, draw) - base).ravel() for e in basis], axis=1)
    transposed = np.stack(
        [operation.vjp(e.astype(np.float64), draw).ravel() for e in basis], axis=1
    )
    np.testing.assert_allclose(transposed, jacobian.T, atol=1e-6)
    assert np.abs(jacobian).sum() > 0


@pytest.mark.parametrize("size", [(101, 99), (299, 299)])
@pytest.mark.parametrize("name", ["rdg", "rand", "crop"])
def test_finite_differences_agree(name, size):
    operation = OPERATIONS[name]()
    draw = operation.sample(Random(9), size)
    generator = np.random.default_rng(3)
    image = generator.uniform(0.2, 0.8, (*size, 3)).astype(np.float32)
    weights = generator.normal(size=image.shape)

    def loss(x):
        return np.vdot(weights, operation.apply(x, draw).astype(np.float64))

    gradient = operation.vjp(weights, draw)
    direction = generator.uniform(-1, 1, image.shape).astype(np.float32)
    step = np.float32(0.125)
    numeric = (loss(image + step * direction) - loss(image - step * direction)) / (2 * step)
    assert numeric == pytest.approx(np.vdot(gradient, direction), rel=1e-4)


@pytest.mark.parametrize("specification", STRAIGHT_THROUGH)
def test_straight_through_is_the_identity(specification):
    operation = Pipeline.parse(specification)
    grad = np.random.default_rng(0).normal(size=(20, 30, 3))
    np.testing.assert_array_equal(operation.vjp(grad, operation.sample(Random(0), (20, 30))), grad)


def test_a_pipeline_applies_the_chain_rule_in_reverse():
    pipeline = Pipeline.parse("fd+rdg+rand")
    draw = pipeline.sample(Random(0), (40, 50))
    grad = np.random.default_rng(0).normal(size=(40, 50, 3))
    fd, rdg, rand = pipeline.operations
    expected = fd.vjp(rdg.vjp(rand.vjp(grad, draw.draws[2]), draw.draws[1]), draw.draws[0])
    np.testing.assert_array_equal(pipeline.vjp(grad, draw), expected)
    assert not np.allclose(expected, rand.vjp(rdg.vjp(grad, draw.draws[1]), draw.draws[2]))


def test_scatter_add_sums_values_that_are_read_more_than_once():
    grad = np.array([[1.0], [2.0], [4.0], [8.0]])[:, :, None]
    out = scatter_add(grad, np.array([0, 2, 2, 4]), 6, axis=0)
    np.testing.assert_array_equal(out[:, 0, 0], [1, 0, 6, 0, 8, 0])
