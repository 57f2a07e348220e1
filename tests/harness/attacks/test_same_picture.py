"""Within 8/255 of one photograph the 21st different image of any attack raises an event."""

import os
import time
from dataclasses import replace
from itertools import islice, product
from random import Random

import numpy as np
import pytest
import torch

from defenses import Pipeline
from harness.attacks import Attacker, parse_attack, run
from harness.budget import Budget, as_pixels
from harness.dataset import Dataset
from harness.surrogate.surrogate import Surrogate
from harness.types import Case
from models import GraphInput, Manifest, Scaling, fit
from service.images.decode import decode
from service.signals.fingerprint import block_means
from service.signals.neighbors import is_blank
from service.signals.seen import Seen
from service.signals.watch import Watch
from service.telemetry.metrics import Metrics
from tests.harness.attacks.conftest import network_graph

SIDE_PX = 96
BALL = Budget("linf", 8 / 255)
MADE = 24
"""How many images of each attack are made. Some of them may be equal."""
IN_BALL = {"norm": "linf", "epsilon": BALL.epsilon}
ATTACKS = {
    "fgsm": "fgsm",
    "i-fgsm": "i-fgsm",
    "l-bfgs": "l-bfgs(iterations=1,search_steps=1)",
    "cw": "cw(iterations=2,search_steps=1)",
    "deepfool": "deepfool(iterations=2,candidates=3)",
    "bpda": "bpda(rule=sign)",
    "bpda-eot": "bpda-eot(rule=sign,draws=1)",
    "semi-brute-force": "semi-brute-force(rule=sign,draws=1)",
    "adaptive": "adaptive(draws=1)",
    "pgd": "pgd(draws=1)",
    "square": "square(queries=100,rounds=1,draws=1)",
    "simba": "simba(queries=100,rounds=1,draws=1,step=0.02)",
    "hopskipjump": "hopskipjump(rounds=1,directions=30)",
    "noise": "noise",
    "stripes": f"stripes(best_of={MADE})",
}
PICTURES = int(os.environ.get("SAME_PICTURE_PICTURES", "4"))
"""How many pictures meet each attack in the slow test. 63 are 1,008 pairs of picture and attack,
with the random points of the ball, and take about 20 minutes."""


@pytest.fixture(scope="module")
def surrogate():
    torch.set_num_threads(1)
    manifest = Manifest(
        name="network",
        input=GraphInput(height_px=SIDE_PX, width_px=SIDE_PX),
        scaling=Scaling(mean=(0, 0, 0), std=(255, 255, 255)),
        labels=("red", "green", "blue"),
    )
    return Surrogate(manifest, network_graph(SIDE_PX), Pipeline.parse("fd+rdg"), device="cpu")


def pictures(manifest):
    """Yield the twenty photographs, and then the quarters of each."""
    files = [each.path.read_bytes() for each in Dataset.demo().photographs]
    for parts in (1, 2):
        for file in files:
            image = decode(file, max_pixels=10**7)
            height, width = (side // parts for side in image.shape[:2])
            for top, left in product(range(parts), repeat=2):
                part = image[top * height :, left * width :][:height, :width]
                fitted = np.ascontiguousarray(fit(part, manifest), np.uint8)
                if not is_blank(block_means(fitted)):
                    yield fitted


class Recorder:
    """A victim that keeps the images that it is asked about."""

    def __init__(self, victim):
        self.victim, self.posted = victim, []

    def classes(self, images):
        self.posted += images
        return self.victim.classes(images)

    def probabilities(self, images, draws=1):
        self.posted += images
        return self.victim.probabilities(images, draws)


def made_by(name, case, surrogate):
    """Images as an attack posts them, all in the ball around the photograph."""
    if name == "random points":
        rng = np.random.default_rng(Random(case.file).getrandbits(64))
        steps = rng.integers(-8, 9, (MADE, *case.image.shape)) / np.float32(255)
        return list((case.image + steps).astype(np.float32))
    attack = replace(parse_attack(ATTACKS[name]), **IN_BALL)
    case = case if attack.targeted else replace(case, target=None)
    recorder = Recorder(surrogate)
    if attack.on_bare_model:  # its only result differs if it begins at another image
        attack = attack.with_epsilon(7 / 255)
        rng = np.random.default_rng(3)
        starts = [
            replace(case, image=np.clip(case.image + step / np.float32(255), 0, 1))
            for step in rng.integers(-1, 2, (MADE, *case.image.shape)).astype(np.float32)
        ]
        states = run(attack, starts, Attacker(surrogate, recorder))
        return [state.adversarial for state in states]
    if not attack.needs_gradients and name != "noise":
        run(attack, [case], Attacker(None, recorder))
        return [as_pixels(image) for image in recorder.posted]
    attack = replace(attack, rounds=MADE)
    states = [attack.begin(case, Attacker(surrogate, recorder))]
    for _ in range(MADE):
        states += attack.advance([case], states[-1:], Attacker(surrogate, recorder))
    return [state.adversarial for state in states]


class Watched:
    """The signal of one picture, without a server."""

    def __init__(self):
        self.metrics = Metrics("0")
        self.watch = Watch(frozenset({"same-picture"}), self.metrics.signals, clients_are_keys=True)
        self.manifest = Manifest(
            name="two", scaling=Scaling(mean=(0, 0, 0), std=(1, 1, 1)), labels=("a", "b")
        )
        self.posted = 0

    def value(self, name, **labels):
        return self.metrics.registry.get_sample_value(f"warpguard_signal_{name}", labels)

    def events_after(self, client, image):
        """The number of events, once the signal has looked at one more image."""
        scores = np.zeros(2, np.float32)
        signals = self.watch.signals
        self.watch.see(Seen(client, signals, self.manifest, image, scores, np.nan, None))
        self.posted += 1
        while self.value("images_total") < self.posted:  # pytest's own limit ends the wait
            time.sleep(0.0005)
        return self.value("events_total", signal="same-picture")


@pytest.fixture
def watched():
    made = Watched()
    made.watch.start()
    yield made
    made.watch.stop()


def check(name, count, surrogate, watched):
    bare = surrogate.with_defense(Pipeline())
    for number, image in enumerate(islice(pictures(surrogate.manifest), count)):
        *_, target, label = np.argsort(bare.probabilities([image])[0]).tolist()
        case = Case(f"{number}.png", as_pixels(image), label, target)
        posted = {}
        for each in made_by(name, case, surrogate):
            inside = BALL.post(case.image, each, quantized=True)
            posted.setdefault(inside.tobytes(), inside)
        different = list(posted.values())[:21]
        assert len(different) == 21, (name, number, len(different))
        events = [watched.events_after(f"{name}/{number}", each) for each in different]
        assert events == [float(number)] * 20 + [float(number + 1)], (name, number)


@pytest.mark.parametrize("name", [*ATTACKS, "random points"])
def test_the_21st_image_of_an_attack_raises_an_event(name, surrogate, watched):
    check(name, 1, surrogate, watched)


@pytest.mark.slow
@pytest.mark.parametrize("name", [*ATTACKS, "random points"])
def test_the_21st_image_raises_an_event_for_other_pictures_too(name, surrogate, watched):
    check(name, PICTURES, surrogate, watched)


def test_every_attack_is_tested_here():
    from harness.attacks import ATTACKS as EVERY

    assert list(ATTACKS) == list(EVERY)
