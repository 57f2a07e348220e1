"""What is kept: 256 images, an hour, 64 clients, and no more memory than that."""

import numpy as np
import pytest

from service.signals.fingerprint import DIRECTIONS
from service.signals.window import MOST_CLIENTS, WINDOW, Fingerprint, Window, Windows

VALUES = 32 * 32 * 3


def fingerprint(number=1, at_s=0.0):
    means = np.full(VALUES, number % 256, np.uint8)
    return Fingerprint(at_s, number, means, np.full(DIRECTIONS, number % 7, np.float16), 0.5)


def test_a_window_keeps_the_last_256():
    window = Window(VALUES)
    for number in range(WINDOW + 10):
        window.add(fingerprint(number, float(number)))
    assert len(window) == WINDOW
    assert not window.has(9)
    assert window.has(10)
    assert window.has(WINDOW + 9)
    seen = window.seen(np.ones(WINDOW, bool))
    assert min(seen) == (10, 0.5)
    assert len(seen) == WINDOW


def test_what_is_forgotten_is_erased():
    window = Window(VALUES)
    window.add(fingerprint(5, 1.0))
    window.add(fingerprint(6, 2.0))
    window.forget(1.5)
    assert (len(window), window.has(5), window.has(6)) == (1, False, True)
    assert set(np.unique(window.means)) == {0, 6}
    assert set(np.unique(window.directions)) == {0, 6}


def test_images_that_were_inferred_again_are_forgotten_too():
    window = Window(VALUES)
    for number in range(WINDOW + 5):
        window.add_squeezed(float(number), 0.5, is_far=number % 2 == 0)
    assert len(window.squeezed) == WINDOW // 2
    assert not window.is_empty
    window.forget(WINDOW + 3.0)
    assert window.squeezed == [(WINDOW + 4.0, 0.5)]
    window.forget(WINDOW + 5.0)
    assert window.is_empty


def test_the_client_that_was_away_for_longest_goes_first():
    windows = Windows(VALUES)
    for number in range(MOST_CLIENTS):
        windows.of(str(number)).add(fingerprint())
    kept = windows.of("0")
    windows.of("new")
    assert len(windows) == MOST_CLIENTS
    assert windows.of("0") is kept
    assert len(windows.of("1")) == 0  # it went, and begins again


def test_a_client_without_images_is_forgotten():
    windows = Windows(VALUES)
    windows.of("old").add(fingerprint(at_s=1.0))
    windows.of("new").add(fingerprint(at_s=3.0))
    windows.forget(2.0)
    assert len(windows) == 1
    assert len(windows.of("new")) == 1


def test_64_clients_take_at_most_60_mb():
    windows = Windows(VALUES)
    for number in range(MOST_CLIENTS):
        windows.of(str(number))
    arrays = [
        value
        for window in windows
        for value in vars(window).values()
        if isinstance(value, np.ndarray)
    ]
    assert len(arrays) == 5 * MOST_CLIENTS
    assert sum(each.nbytes for each in arrays) == pytest.approx(54.9e6, rel=0.01)
