"""From images whose scores are known to a calibration."""

from fractions import Fraction

import numpy as np
import pytest

from defenses import Pipeline
from models import Manifest, Scaling
from service.signals.fingerprint import Fingerprints
from service.signals.measure import Measured, calibrate
from service.signals.neighbors import LEAST_COSINE, same_direction

RNG = np.random.default_rng(5)
FD_RDG = Pipeline.parse("fd+rdg")


def manifest(classes=200):
    return Manifest(
        name="many",
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=tuple(map(str, range(classes))),
        sha256="0" * 64,
    )


def image(number, means=None, scores=None):
    """The agreement of every fourth image is a half, and its answer is wrong."""
    return Measured(
        distance=number / 100,
        agreement=0.5 if number % 4 == 0 else 1.0,
        right=number % 4 != 0,
        means=RNG.integers(0, 256, 300).astype(np.uint8) if means is None else means,
        scores=RNG.normal(size=200).astype(np.float32) if scores is None else scores,
    )


def made(images, classes=200, rate="0.01"):
    return calibrate(images, manifest(classes), FD_RDG, draws=2, false_alarms=Fraction(rate))


def test_the_figures_of_images_whose_scores_are_known():
    found = made([image(number) for number in range(1, 100)])
    assert (found.images, found.draws, found.false_alarms) == (99, 2, 0.01)
    assert (found.model.name, found.model.sha256) == ("many", "0" * 64)
    assert (found.defense.name, found.defense.sha256) == ("fd+rdg", FD_RDG.digest())
    assert (found.squeeze.threshold, found.squeeze.draws) == (0.99, 1)
    assert found.squeeze.rate_low < 0.01 < found.squeeze.rate_high
    assert (found.same_picture.mean, found.same_picture.most) == (0, 0)
    assert found.concentration.least_cosine == LEAST_COSINE
    rows = [(row.min_agreement, row.unsure, row.wrong) for row in found.agreement]
    assert rows == [(0.5, 0, round(24 / 99, 6)), (1.0, round(24 / 99, 6), 0)]


def test_too_few_images_are_refused():
    with pytest.raises(ValueError, match="98 images are too few; 99 are needed"):
        made([image(number) for number in range(98)])


def test_neighbours_are_counted_as_in_a_full_window():
    """Of 101 images 11 are one picture, so each of these is like 10 of the 100 others."""
    means = RNG.integers(0, 256, 300).astype(np.uint8)
    found = made([image(number, means if number < 11 else None) for number in range(101)])
    assert found.same_picture.most == pytest.approx(25.6)
    assert found.same_picture.mean == pytest.approx(25.6 * 11 / 101)


def test_the_neighbours_of_a_large_folder_come_from_all_of_it():
    means = RNG.integers(0, 256, 300).astype(np.uint8)
    found = made([image(number, means if number % 2 else None) for number in range(700)])
    assert found.same_picture.most == pytest.approx(128, abs=40)


def test_blank_images_are_not_compared():
    blank = np.full(300, 9, np.uint8)
    found = made([image(number, blank) for number in range(99)])
    assert (found.same_picture.most, found.concentration) == (0, None)


def test_images_that_are_alike_to_the_model_raise_the_cosine():
    """With the raised cosine none of them has enough neighbours for an event, on any server."""
    common = 3 * RNG.normal(size=200)
    scores = [(common + RNG.normal(size=200)).astype(np.float32) for _ in range(120)]
    found = made([image(number, scores=each) for number, each in enumerate(scores)])
    assert LEAST_COSINE < found.concentration.least_cosine < 1
    assert found.concentration.most < 20
    fingerprints = Fingerprints((), 200)
    directions = np.stack([fingerprints.direction(each, probabilities=False) for each in scores])
    shipped = [same_direction(directions, each).sum() for each in directions]
    assert min(shipped) > 20


def test_a_model_of_few_classes_has_no_concentration():
    found = made([image(number, scores=np.zeros(3, np.float32)) for number in range(99)], classes=3)
    assert found.concentration is None
