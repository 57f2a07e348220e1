"""Rates and quantiles of a server, from its metrics at two moments."""

import math

import pytest
from prometheus_client import generate_latest

from service.monitor.figures import figures, quantile
from service.monitor.scrape import Scrape, _parse
from service.telemetry.metrics import Metrics


def scrape(metrics, at_s, started_s=0.0):
    samples = dict(_parse(generate_latest(metrics.registry).decode()))
    return Scrape(at_s, {**samples, "process_start_time_seconds": [({}, started_s)]})


@pytest.fixture
def metrics():
    made = Metrics("1")
    made.model.info({"name": "m", "provider": "p"})
    made.expect(["fd", "rdg"], 256)
    return made


def answer(metrics, images, draws=2, seconds=0.2, agreement=0.5):
    for _ in range(images):
        metrics.stage("total", seconds)
        metrics.stage("decode", seconds)
        metrics.images.labels("fd").inc(draws)
        metrics.agreement.observe(agreement)


def test_the_first_figures_are_about_the_time_since_the_start(metrics):
    answer(metrics, 30)
    metrics.ready.set(1)
    metrics.in_flight.set(3)
    metrics.signals.neighbors("same-picture", 20)
    metrics.signals.flag("same-picture")
    metrics.signals.count_event("same-picture")
    metrics.signals.squeezed(1.5, is_far=True)
    metrics.signals.skip("busy")
    found = figures(scrape(metrics, 110.0, started_s=100.0))
    assert (found.since_start, found.over_s) == (True, 10.0)
    assert (found.images_per_s, found.draws_per_s) == (3.0, 6.0)
    assert 100 < found.p50_ms < found.p99_ms <= 250  # the bucket of 0.2 s
    assert (found.model, found.provider, found.defenses) == ("m", "p", ["fd"])
    assert (found.is_ready, found.in_flight, found.in_flight_limit) == (True, 3, 256)
    assert found.agreement == 0.5
    by_name = {each.name: each for each in found.signals}
    assert (by_name["same-picture"].flagged, by_name["same-picture"].events) == (1, 1)
    assert by_name["squeeze"].images == 1
    assert found.far == 1
    assert found.skipped == {"identical": 0, "blank": 0, "busy": 1, "not-idle": 0}


def test_later_figures_are_about_what_happened_since_the_earlier_ones(metrics):
    answer(metrics, 30, agreement=1.0)
    before = scrape(metrics, 10.0)
    metrics.count_error("busy")
    answer(metrics, 4, draws=1, seconds=3.0, agreement=0.25)
    found = figures(scrape(metrics, 12.0), before)
    assert (found.since_start, found.over_s) == (False, 2.0)
    assert (found.images_per_s, found.draws_per_s, found.errors_per_s) == (2.0, 2.0, 0.5)
    assert 2500 < found.p50_ms <= 5000
    assert found.agreement == 0.25


def test_without_images_there_is_no_quantile(metrics):
    before = scrape(metrics, 10.0)
    found = figures(scrape(metrics, 12.0), before)
    assert found.images_per_s == 0
    assert all(map(math.isnan, (found.p50_ms, found.p99_ms, found.agreement)))


def test_a_server_that_was_started_again_begins_at_0(metrics):
    answer(metrics, 30)
    before = scrape(metrics, 10.0)
    again = Metrics("1")
    answer(again, 5)
    found = figures(scrape(again, 13.0, started_s=12.0), before)
    assert (found.since_start, found.images_per_s, found.model) == (True, 5.0, "")


@pytest.mark.parametrize(
    ("share", "expected"), [(0.25, 0.5), (0.5, 1.0), (0.75, 2.0), (0.9, 2.0), (1.0, 2.0)]
)
def test_a_quantile_is_linear_within_its_bucket(share, expected):
    buckets = [(math.inf, 20), (1.0, 10), (2.0, 15)]
    assert quantile(share, buckets) == expected


def test_a_quantile_of_nothing_is_unknown():
    assert math.isnan(quantile(0.5, []))
    assert math.isnan(quantile(0.5, [(1.0, 0), (math.inf, 0)]))
