"""The budget: every projected and every posted image is inside, for any photograph."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.budget import Budget, as_pixels, l2_rms, linf, to_8_bits

BUDGETS = st.builds(Budget, st.sampled_from(["l2", "linf"]), st.floats(1e-4, 1))


@st.composite
def pairs(draw):
    """Draw a photograph of any size, with 8 bits or not, and an image anywhere around it."""
    height, width = draw(st.integers(1, 23)), draw(st.integers(1, 23))
    generator = np.random.default_rng(draw(st.integers(0, 2**32)))
    clean = generator.random((height, width, 3), dtype=np.float32)
    clean = np.clip(1.4 * clean - 0.2, 0, 1)  # some pixels are black or white
    if draw(st.booleans()):
        clean = as_pixels(to_8_bits(clean))
    far = draw(st.sampled_from([0.0, 1e-3, 0.03, 0.3, 10.0]))
    return clean, clean + np.float32(far) * generator.standard_normal(clean.shape, np.float32)


@given(BUDGETS, pairs())
def test_a_projected_image_is_inside(budget, pair):
    clean, image = pair
    projected = budget.project(clean, image)
    assert projected.dtype == np.float32
    assert projected.min() >= 0
    assert projected.max() <= 1
    assert budget.holds(clean, projected)


@given(BUDGETS, pairs())
def test_projecting_again_changes_nothing(budget, pair):
    clean, image = pair
    once = budget.project(clean, image)
    assert budget.project(clean, once) == pytest.approx(once, abs=1e-6)


@given(BUDGETS, pairs())
def test_an_image_inside_is_not_changed(budget, pair):
    clean, image = pair
    image = np.clip(image, 0, 1)
    if budget.size(image - clean) <= budget.epsilon:
        assert budget.project(clean, image) == pytest.approx(image, abs=1e-6)


@given(BUDGETS, pairs())
def test_a_posted_image_of_8_bits_is_inside(budget, pair):
    clean, image = pair
    posted = budget.post(clean, image, quantized=True)
    assert posted.dtype == np.uint8
    # Rounding itself changes a photograph whose values lie between two values of 8 bits.
    assert budget.holds(clean, posted) or np.array_equal(posted, to_8_bits(clean))


@given(BUDGETS, pairs())
def test_an_image_posted_without_rounding_is_the_projection(budget, pair):
    clean, image = pair
    posted = budget.post(clean, image, quantized=False)
    assert np.array_equal(posted, budget.project(clean, image))
    assert budget.holds(clean, posted)


def test_rounding_out_of_the_budget_is_undone():
    clean = as_pixels(np.full((8, 8, 3), 100, np.uint8))
    budget = Budget("linf", 1.4 / 255)
    posted = budget.post(clean, clean + np.float32(1), quantized=True)
    assert np.unique(posted).tolist() == [101]
    # 1.6 would round to 2.
    posted = Budget("linf", 1.6 / 255).post(clean, clean + np.float32(1), quantized=True)
    assert np.unique(posted).tolist() == [101]


def test_the_norms_of_known_changes():
    change = np.zeros((10, 10, 3), np.float32)
    change[0, 0, 0] = -0.6
    assert linf(change) == pytest.approx(0.6)
    assert l2_rms(change) == pytest.approx(0.6 / np.sqrt(300))
    # At 299 px the paper's 0.05 is an l2 norm of 25.9.
    assert l2_rms(np.full((299, 299, 3), 0.05)) * np.sqrt(299 * 299 * 3) == pytest.approx(
        25.9, 0.01
    )


def test_the_whole_range_holds_every_image():
    clean, other = np.zeros((9, 9, 3), np.float32), np.ones((9, 9, 3), np.float32)
    for norm in ("l2", "linf"):
        assert np.array_equal(Budget(norm, 1.0).project(clean, other), other)


def test_images_of_both_types_become_pixels():
    assert as_pixels(np.array([0, 51, 255], np.uint8)) == pytest.approx([0, 0.2, 1])
    floats = np.array([0.1], np.float32)
    assert as_pixels(floats) is floats
