from itertools import product

import numpy as np
import pytest

from defenses.seams import cuts


def every_path(length, overlap):
    paths = np.array(list(product(range(overlap), repeat=length)))
    return paths[(np.abs(np.diff(paths, axis=1)) <= 1).all(axis=1)]


@pytest.mark.parametrize(("length", "overlap"), [(1, 3), (5, 1), (5, 2), (6, 4)])
def test_no_path_costs_less(length, overlap):
    errors = np.random.default_rng(0).random((length, overlap, 20)).astype(np.float32)
    found = cuts(errors)
    paths = every_path(length, overlap)
    for index in range(20):
        steps = np.arange(length)
        assert np.abs(np.diff(found[:, index])).max(initial=0) <= 1
        costs = errors[steps, paths, index].sum(axis=1)
        assert errors[steps, found[:, index], index].sum() == pytest.approx(costs.min())


def test_it_follows_a_valley():
    errors = np.ones((7, 5, 1), np.float32)
    valley = [0, 1, 2, 3, 4, 3, 2]
    errors[np.arange(7), valley] = 0
    assert cuts(errors)[:, 0].tolist() == valley
