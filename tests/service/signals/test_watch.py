"""What the operator learns of an attack, and what nobody else does."""

import json
import logging
import re
import threading
import time

import jsonschema
import numpy as np
import pytest
from PIL import Image

from defenses import Pipeline
from models import Manifest, Scaling
from service.signals import events as reporting
from service.signals import watch as module
from service.signals.events import EventsFileError
from service.signals.names import SIGNALS
from service.signals.seen import Seen
from service.signals.watch import Watch
from service.telemetry.logs import request_id
from service.telemetry.metrics import Metrics
from tests.service.signals.test_event import SCHEMA
from tests.service.signals.test_measure import image, made

LIMIT_S = 600
MANIFEST = Manifest(
    name="many",
    scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
    labels=tuple(map(str, range(200))),
)
RNG = np.random.default_rng(3)
PREDICT = "/v1/predict"
COMPARING = ("same-picture", "concentration")
"""The signals that compare images; tests/service/signals/test_squeeze.py tests the third one."""


def picture(seed=0, size=64):
    """A picture of random blocks, in [8, 247]."""
    blocks = np.random.default_rng(seed).integers(8, 248, (8, 8, 3), dtype=np.uint8)
    return blocks.repeat(size // 8, axis=0).repeat(size // 8, axis=1)


async def never(image):
    raise AssertionError(image)


def seen_by(signals, image, scores, client="shop", agreement=float("nan"), **more):
    return Seen(client, frozenset(signals), MANIFEST, image, scores, agreement, never, **more)


def in_ball(image):
    return image + RNG.integers(-8, 9, image.shape).astype(np.uint8)


class Eyes:
    """A watch without a server, whose metrics and events a test can read."""

    def __init__(self, signals=COMPARING, **options):
        self.metrics = Metrics("0")
        given = {"clients_are_keys": True} | options
        self.watch = Watch(frozenset(signals), self.metrics.signals, **given)
        self.posted = 0

    def value(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"warpguard_signal_{name}", labels) or 0.0

    @property
    def looked(self):
        skipped = (self.value("skipped_images_total", reason=r) for r in ("blank", "identical"))
        return self.value("images_total") + sum(skipped) + self.value("squeeze_distance_count")

    def see(self, image, scores=None, client="shop", agreement=float("nan"), **more):
        if scores is None:
            scores = RNG.normal(size=200).astype(np.float32)
        signals = self.watch.signals - {"squeeze"}
        self.watch.see(seen_by(signals, image, scores, client, agreement, **more))
        self.posted += 1

    def wait(self):
        give_up = time.monotonic() + LIMIT_S
        while self.looked < self.posted:
            assert time.monotonic() < give_up
            time.sleep(0.002)


@pytest.fixture
def eyes():
    made = []

    def open_eyes(*arguments, **options):
        made.append(Eyes(*arguments, **options))
        made[-1].watch.start()
        return made[-1]

    yield open_eyes
    for each in made:
        each.watch.stop()


def events(caplog):
    found = [getattr(record, "fields", {}) for record in caplog.records]
    return [fields["event"] for fields in found if "event" in fields]


def test_the_21st_picture_of_a_ball_raises_an_event(eyes, caplog):
    seen, image = eyes(), picture()
    for number in range(20):
        seen.see(in_ball(image), agreement=0.5 + number % 2 / 2)
        seen.see(picture(number + 1))
    seen.wait()
    assert events(caplog) == []
    seen.see(in_ball(image))
    seen.wait()
    (event,) = events(caplog)
    jsonschema.validate(event, SCHEMA)
    assert event["count"] == 20
    assert event["finding_info"]["analytic"]["name"] == "same-picture"
    assert event["evidences"][0]["data"]["same-picture"]["mean_agreement"] == 0.75
    assert event["finding_info"]["first_seen_time"] <= event["time"]
    assert seen.value("events_total", signal="same-picture") == 1
    assert seen.value("flagged_images_total", signal="same-picture") == 1
    assert seen.value("kept_images") == 41


def test_what_was_measured_is_logged_with_the_request_s_id(eyes, caplog):
    caplog.set_level(logging.DEBUG, module.__name__)
    lines = []
    handler = logging.Handler()
    handler.emit = lambda each: lines.append((each.levelname, request_id.get(), each.fields))
    logger = logging.getLogger(module.__package__)
    seen, image = eyes(("same-picture",)), picture()
    logger.addHandler(handler)
    try:
        for number in range(22):
            seen.see(in_ball(image), request_id=f"request-{number}")
        seen.see(image, threshold=1.0, distance=1.2345, request_id="far")
        seen.see(image, threshold=1.0, distance=0.5, request_id="near")
        seen.wait()
        seen.watch.stop()
    finally:
        logger.removeHandler(handler)
    measured = [(level, name, more["signals"]) for level, name, more in lines if "signals" in more]
    expected = [
        ("INFO" if number >= 20 else "DEBUG", f"request-{number}", {"same-picture": number})
        for number in range(22)
    ]
    expected += [("INFO", "far", {"squeeze": 1.234}), ("DEBUG", "near", {"squeeze": 0.5})]
    assert measured == expected
    assert [name for level, name, more in lines if "event" in more] == ["request-20"]


def test_scores_that_point_the_same_way_raise_an_event(eyes, caplog):
    seen = eyes()
    scores = RNG.normal(size=200)
    for number in range(21):
        seen.see(picture(number), (scores + RNG.normal(0, 0.3, 200)).astype(np.float32))
    seen.wait()
    (event,) = events(caplog)
    assert event["finding_info"]["analytic"]["name"] == "concentration"
    assert event["count"] == 20
    assert seen.value("events_total", signal="same-picture") == 0


def test_with_fewer_than_100_classes_scores_are_not_compared(eyes, caplog):
    seen = eyes()
    for number in range(30):
        seen.see(picture(number), np.array([9, 0, 0], np.float32))
    seen.wait()
    assert events(caplog) == []
    assert seen.value("neighbor_images_count", signal="concentration") == 0
    assert seen.value("neighbor_images_count", signal="same-picture") == 30


def test_clients_are_watched_one_by_one(eyes, caplog):
    seen, image = eyes(), picture()
    for number in range(38):
        seen.see(in_ball(image), client=f"client {number % 2}")
    seen.wait()
    assert events(caplog) == []


def test_blank_dark_and_identical_images_do_not_count(eyes, caplog):
    seen, image = eyes(), picture()
    for _ in range(30):
        seen.see(image, RNG.normal(size=200).astype(np.float32))
        seen.see(image // 8)
        seen.see(np.full_like(image, 255) - RNG.integers(0, 9, image.shape, dtype=np.uint8))
    seen.wait()
    assert events(caplog) == []
    assert seen.value("images_total") == 1
    assert seen.value("skipped_images_total", reason="identical") == 29
    assert seen.value("skipped_images_total", reason="blank") == 60


@pytest.mark.parametrize(("far", "raised"), [(20, 0), (21, 1)])
def test_the_21st_image_that_the_defence_moves_far_raises_an_event(eyes, caplog, far, raised):
    seen = eyes()
    for number in range(60):
        seen.see(picture(number), threshold=1.0, distance=1.1 if number < far else 1.0)
    seen.wait()
    assert len(events(caplog)) == raised
    assert seen.value("events_total", signal="squeeze") == raised
    assert seen.value("squeeze_distance_count") == 60
    assert seen.value("far_images_total") == far
    for event in events(caplog):
        jsonschema.validate(event, SCHEMA)
        assert event["count"] == 20
        assert event["finding_info"]["analytic"]["name"] == "squeeze"


def test_a_calibration_has_the_thresholds_of_its_defence(eyes, caplog):
    """Scores with a cosine of 0.8 are alike, unless the calibration asks for more."""
    found = made([image(number) for number in range(1, 100)])
    raised = found.concentration.model_copy(update={"least_cosine": 0.97})
    common = 2 * RNG.normal(size=200)
    higher = found.model_copy(update={"concentration": raised})
    for calibration, events_raised in ((found, 1), (None, 1), (higher, 0)):
        seen = eyes(calibration=calibration)
        for number in range(25):
            scores = (common + RNG.normal(size=200)).astype(np.float32)
            seen.see(picture(number), scores)
        seen.wait()
        assert seen.value("events_total", signal="concentration") == events_raised
    watch = eyes(calibration=found).watch
    assert watch.threshold(MANIFEST, Pipeline.parse("fd+rdg")) == 0.99
    assert watch.threshold(MANIFEST, Pipeline.parse("fd")) is None


def test_a_key_may_be_exempt():
    both = Watch(frozenset(SIGNALS), Metrics("0").signals, clients_are_keys=True)
    assert both.signals_for(None) == set(SIGNALS)
    assert both.signals_for(frozenset()) == set()
    off = Watch(frozenset(), Metrics("0").signals, clients_are_keys=True)
    assert off.signals_for(frozenset(SIGNALS)) == set()


def test_an_image_is_kept_for_an_hour(eyes, caplog, monkeypatch):
    seen, image = eyes(), picture()
    for _ in range(20):
        seen.see(in_ball(image))
    seen.wait()
    monkeypatch.setattr(module, "WINDOW_S", 0.0)
    seen.see(in_ball(image))
    seen.wait()
    assert events(caplog) == []
    assert seen.value("kept_images") == 1


def test_another_model_begins_with_empty_windows(eyes, caplog):
    seen, image = eyes(), picture()
    for _ in range(20):
        seen.see(in_ball(image))
    seen.see(in_ball(picture(size=128)))
    seen.see(in_ball(image))
    seen.wait()
    assert events(caplog) == []
    assert seen.value("kept_images") == 1


def test_too_many_waiting_images_are_skipped(monkeypatch):
    monkeypatch.setattr(module, "MOST_WAITING_BYTES", 3 * picture().nbytes)
    seen = Eyes()  # its thread does not run
    for _ in range(10):
        seen.see(picture())
    assert seen.value("skipped_images_total", reason="busy") == 7
    seen.watch.start()
    seen.posted = 3
    seen.wait()
    seen.see(picture(9))
    seen.wait()
    assert seen.value("images_total") == 2  # the three were identical
    seen.watch.stop()


def test_a_failure_is_logged_and_the_next_image_is_looked_at(eyes, caplog):
    seen = eyes()
    seen.watch.see(seen_by(COMPARING, np.zeros(3), np.zeros(200)))
    seen.see(picture())
    seen.wait()
    assert "could not look at an image" in caplog.text


def test_the_thread_runs_only_if_a_signal_is_on(eyes):
    before = {thread for thread in threading.enumerate() if thread.name == "signals"}
    eyes(())
    assert {thread for thread in threading.enumerate() if thread.name == "signals"} == before


def test_events_are_lines_of_a_file(eyes, tmp_path, caplog):
    file = tmp_path / "events.jsonl"
    file.write_text("earlier\n")
    seen, image = eyes(events_file=file), picture()
    for _ in range(21):
        seen.see(in_ball(image), client="203.0.113.7")
    seen.wait()
    seen.watch.stop()
    first, line = file.read_text("utf-8").splitlines()
    assert first == "earlier"
    assert [json.loads(line)] == events(caplog)


def test_an_event_that_is_being_written_is_written_to_its_end(eyes, tmp_path, monkeypatch):
    begun, append, file = threading.Event(), reporting._append, tmp_path / "events.jsonl"
    seen, image = eyes(events_file=file), picture()

    def slowly(path, line):
        begun.set()
        time.sleep(0.2)
        append(path, line)

    monkeypatch.setattr(reporting, "_append", slowly)
    for _ in range(21):
        seen.see(in_ball(image))
    assert begun.wait(LIMIT_S)
    seen.watch.stop()
    assert len(file.read_text("utf-8").splitlines()) == 1


def test_a_new_events_file_is_for_its_owner_only(tmp_path):
    Eyes(events_file=tmp_path / "new")
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o600
    with pytest.raises(EventsFileError, match=r"--events-file .*cannot be written"):
        Eyes(events_file=tmp_path / "missing" / "events")
    with pytest.raises(EventsFileError):
        Eyes(events_file=tmp_path)


def png(image):
    from io import BytesIO

    buffer = BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def ask(ready):
    """Start a server with or without signals, and post the pictures of an attack and others."""

    def asked(**options):
        client = ready(**options)
        image = picture(size=32)
        answers = [client.post(PREDICT, content=png(in_ball(image))) for _ in range(25)]
        tensor = {"name": "x", "datatype": "UINT8", "shape": [32, 32, 3]}
        for _ in range(3):
            tensor["data"] = in_ball(image).ravel().tolist()
            body = json.dumps({"inputs": [tensor]})
            answers.append(client.post("/v2/models/colours/infer", content=body))
        answers.append(client.post(PREDICT, content=b"junk"))
        files = [("files", ("a", png(in_ball(image)))), ("files", ("b", b"junk"))]
        answers.append(client.post(f"{PREDICT}?draws=3", files=files))
        return client, answers

    return asked


ON = {"alarm": "same-picture,concentration", "admin_port": 0}


def test_no_fingerprint_is_in_a_log_a_metric_or_an_event(ask, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    kept = []
    monkeypatch.setattr(module.Window, "add", lambda _, fingerprint: kept.append(fingerprint))
    _, answers = ask(**ON)
    give_up = time.monotonic() + LIMIT_S
    while len(kept) < 29:
        assert time.monotonic() < give_up
        time.sleep(0.002)
    texts = [caplog.text, *(str(vars(record)) for record in caplog.records)]
    texts += [each.text for each in answers]
    numbers = re.sub(r"[^0-9]+", " ", " ".join(texts))
    for each in kept:
        for values in (each.means[:4], [each.identity]):
            assert " ".join(map(str, values)) not in numbers
    secrets = (" ".join(map(str, kept[0].means[:4])), str(kept[0].identity))
    assert all(secrets)


def test_concentration_says_that_it_needs_100_classes(ready, caplog):
    ready(**ON)
    assert "The signal concentration is off: it needs 100 classes, and colours has 3" in caplog.text


def test_metrics_have_no_client_in_a_label(ask):
    client, _ = ask(**ON)
    registry = client.app.state.backend.metrics.registry
    labels = {  # of every signal
        (name, value)
        for metric in registry.collect()
        if metric.name.startswith("warpguard_signal")
        for sample in metric.samples
        for name, value in sample.labels.items()
        if name != "le"
    }
    assert labels == {("signal", each) for each in SIGNALS} | {
        ("reason", each) for each in ("blank", "busy", "identical", "not-idle")
    }
