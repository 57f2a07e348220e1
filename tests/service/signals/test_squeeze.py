"""A share of the images is inferred again, when nobody waits, and compared."""

import asyncio
import time
from dataclasses import replace

import numpy as np
import pytest

from defenses import Pipeline
from models import Store, ensure, resolve
from service.errors import NotReadyError
from service.signals import squeeze as module
from service.signals.squeeze import MOST_WAITING, Squeeze, distance, threshold
from tests.service.signals.test_watch import LIMIT_S, MANIFEST, SIGNALS, picture, seen_by

SCORES = np.zeros(200, np.float32)

pytestmark = pytest.mark.anyio


class Work:
    """A squeeze whose server is idle when a test says so, and what became of its images."""

    def __init__(self, share=1.0, idle=True):
        self.idle = idle
        self.measured, self.skipped, self.inferred = [], 0, 0
        self.squeeze = Squeeze(
            share, is_idle=lambda: self.idle, on_distance=self.measured.append, on_skip=self.skip
        )

    def skip(self):
        self.skipped += 1

    async def infer(self, image):
        self.inferred += 1
        scores = SCORES.copy()
        scores[image[0, 0, 0] % 2] = 50
        return scores

    def sample(self, **more):
        given = {"threshold": 1.0, "infer": self.infer} | more
        self.squeeze.sample(replace(seen_by(SIGNALS, picture(), SCORES), **given))

    async def run_until(self, condition):
        task = asyncio.create_task(self.squeeze.run())
        try:
            async with asyncio.timeout(600):
                while not condition():
                    await asyncio.sleep(0.001)
        finally:
            task.cancel()


async def test_an_image_is_measured():
    work = Work()
    work.sample()
    await work.run_until(lambda: work.measured)
    (seen,) = work.measured
    assert seen.distance == pytest.approx(2 * (1 - 1 / 200), abs=1e-4)
    assert (work.inferred, work.skipped) == (1, 0)


async def test_nothing_is_inferred_while_the_server_has_work(monkeypatch):
    work = Work(idle=False)
    work.sample()
    task = asyncio.create_task(work.squeeze.run())
    await asyncio.sleep(0.1)
    assert (work.inferred, work.skipped) == (0, 0)
    task.cancel()
    monkeypatch.setattr(module, "PATIENCE_S", 0.05)
    work.sample()
    await work.run_until(lambda: work.skipped)
    assert work.inferred == 0


async def test_images_that_cannot_wait_are_skipped():
    work = Work()
    for _ in range(MOST_WAITING + 3):
        work.sample()
    assert work.skipped == 3


@pytest.mark.parametrize(("share", "least", "most"), [(0.0, 0, 0), (0.1, 40, 170)])
async def test_a_share_is_left_to_chance(share, least, most):
    work = Work(share)
    for _ in range(1000):
        work.sample()
    assert least <= work.skipped + min(work.squeeze._waiting.qsize(), MOST_WAITING) <= most


async def test_without_a_threshold_nothing_is_inferred():
    work = Work()
    work.sample(threshold=None)
    assert work.squeeze._waiting.empty()


async def test_a_stopped_model_and_a_failure_do_not_end_it(caplog):
    async def stopped(image):
        raise NotReadyError("The server is stopping.")

    async def broken(image):
        raise ValueError("broken")

    work = Work()
    work.sample(infer=stopped)
    work.sample(infer=broken)
    work.sample()
    await work.run_until(lambda: work.measured)
    assert work.skipped == 1
    assert "could not be inferred" in caplog.text


def test_the_distance_is_that_of_the_probabilities():
    scores = np.zeros((2, 200), np.float32)
    scores[0, 3] = scores[1, 4] = 100
    assert distance(scores[0], scores[0], MANIFEST) == 0
    assert distance(scores[0], scores[1], MANIFEST) == pytest.approx(2)


def test_the_threshold_is_for_one_model_and_one_defence():
    store = Store(None)
    manifest, _ = ensure(store, resolve(store, "efficientnet-lite2"))
    assert threshold(manifest, Pipeline.parse("fd+rdg")) == 1.1
    assert threshold(manifest, Pipeline.parse("fd")) is None
    assert threshold(MANIFEST, Pipeline.parse("fd+rdg")) is None


def test_a_server_infers_its_images_again_when_it_is_idle(ready, make_photograph, monkeypatch):
    monkeypatch.setattr("service.signals.watch.threshold", lambda *_: 0.0)
    client = ready(alarm="squeeze", squeeze_share=1.0, admin_port=0)
    value = client.app.state.backend.metrics.registry.get_sample_value
    before = value("warpguard_batch_images_count")
    for _ in range(3):
        assert client.post("/v1/predict", content=make_photograph()).status_code == 200
    give_up = time.monotonic() + LIMIT_S
    while value("warpguard_signal_squeeze_distance_count") < 3:
        assert time.monotonic() < give_up
        time.sleep(0.002)
    assert value("warpguard_batch_images_count") == before + 6
    assert value("warpguard_signal_far_images_total") == 3
    assert 0 < value("warpguard_signal_squeeze_distance_sum") < 6


def test_squeeze_says_for_which_model_it_has_no_threshold(ready, caplog):
    ready(alarm="squeeze", squeeze_share=1.0, admin_port=0, allow_defense="none")
    assert "The signal squeeze is off for colours behind fd+rdg, none" in caplog.text
