"""The figures that ``warpguard defenses`` shows are those of the operations as they are now."""

from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np
import pytest

from benchmarks.properties import changes
from defenses import OPERATIONS, Pipeline, measured


@pytest.fixture(scope="module")
def photographs():
    """Others than those that were measured, so that the figures are near, and no more."""
    folder = Path(find_spec("foolbox").origin).parent / "data"
    files = sorted(folder.glob("imagenet_*.jpg"))[::6]
    assert len(files) == 4
    return [cv2.resize(cv2.imread(str(file))[:, :, ::-1], (299, 299)) for file in files]


def test_what_was_measured_is_possible():
    assert len(measured().operations) >= 11
    assert set(measured().operations) <= set(OPERATIONS)
    for name, figures in measured().operations.items():
        assert 0 < figures.accuracy <= 1, name
        assert 0.9 < figures.undefended <= 1
        assert 0 < figures.l2_rms < 0.5
        assert 0 < figures.ssim < 1
        assert 0 <= figures.zero_gradient_fraction <= 1
        assert figures.ms > 0


@pytest.mark.parametrize("name", [name for name in measured().operations if name != "quilt"])
def test_the_changes_are_what_was_measured(name, photographs):
    pipeline = Pipeline.parse(name)
    known = measured().operations[name]
    now = changes(pipeline, photographs)
    assert now["l2_rms"] == pytest.approx(known.l2_rms, rel=1)
    assert now["ssim"] == pytest.approx(known.ssim, abs=0.2)
    assert now["draw_distance"] == pytest.approx(known.draw_distance, rel=1)
    assert now["zero_gradient_fraction"] == pytest.approx(known.zero_gradient_fraction, abs=0.1)
    assert (known.draw_distance > 0) is pipeline.random


def test_a_warp_has_a_gradient_and_rounding_has_none():
    flat = {name: figures.zero_gradient_fraction for name, figures in measured().operations.items()}
    assert min(flat["fd"], flat["jpeg"], flat["shield"], flat["bitdepth"], flat["quilt"]) > 0.9
    assert max(flat["rdg"], flat["crop"]) < 0.05


def test_flat_is_the_share_of_the_output_that_does_not_move():
    ramp = np.linspace(0, 255, 64 * 64 * 3).reshape(64, 64, 3).astype(np.uint8)
    assert changes(Pipeline.parse("bitdepth(bits=1)"), [ramp])["zero_gradient_fraction"] > 0.98
    assert changes(Pipeline.parse("crop(fraction=1)"), [ramp])["zero_gradient_fraction"] < 0.02
