"""A reproducer without attacks: it makes up runs whose answers are known."""

from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
from PIL import Image

from defenses import Pipeline
from harness.attacks import parse_attack
from harness.attacks.attack import Case
from harness.dataset import Dataset
from harness.reproduce import ITEMS, SCALES, Reproduction
from harness.reproduce.reproducer import Reproducer
from harness.reproduce.work import make_bank
from harness.results import AttackRecord, DatasetRecord, EndpointRecord, ImageResult, Run, Score

LABEL, TARGET = 1, 2


def make_run(attack, defense, first_successes):
    """A run with one image for each first success: its round, or None for an image that holds."""
    attack, dataset = parse_attack(attack), DatasetRecord(name="d", candidates=20, selected=2)
    return Run(
        name="run",
        created="2026-01-02T03:04:05+00:00",
        seconds=1.0,
        versions={},
        attack=AttackRecord(
            name=attack.name,
            summary=attack.summary,
            reference=attack.reference,
            parameters=asdict(attack),
            norm=attack.norm,
            epsilon=attack.epsilon,
            targeted=attack.targeted,
        ),
        endpoint=EndpointRecord(
            url="http://x",
            model="m",
            model_sha256=None,
            defense=str(Pipeline.parse(defense)),
            protocol="v2",
            quantized=False,
        ),
        surrogate=None,
        dataset=dataset,
        seed=0,
        scoring_draws=1,
        images=tuple(
            ImageResult(
                file=f"{number}.png",
                sha256="",
                label=LABEL,
                target=TARGET,
                scores=(
                    Score(round=0, classes=(LABEL,), l2_rms=0, linf=0),
                    Score(
                        round=attack.rounds,
                        classes=(LABEL if success is None else TARGET,),
                        l2_rms=0.01,
                        linf=0.03,
                    ),
                ),
                gradients=0,
                queries=0,
                seconds=0,
                first_success_round=success,
            )
            for number, success in enumerate(first_successes)
        ),
    )


@pytest.fixture(name="make_run")
def _make_run():
    return make_run


class KnownReproducer(Reproducer):
    """Every attack succeeds on one of two photographs, in its first round."""

    def run(self, attack, defense):
        self.runs.append(make_run(attack, defense, [1, None]))
        return self.runs[-1]

    @property
    def cases(self):
        cases = []
        for photograph in Dataset.demo().photographs[:2]:
            with Image.open(photograph.path) as file:
                pixels = np.asarray(file.convert("RGB").resize((224, 224)), np.float32) / 255
            cases.append(Case(photograph.file, pixels, LABEL, TARGET))
        return cases


class KnownTarget:
    """An endpoint that gets every image right."""

    def __init__(self, _, defense):
        Pipeline.parse(defense)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def classes(self, images):
        return np.full(len(images), LABEL)


@pytest.fixture(scope="session")
def bank(tmp_path_factory):
    """The bank of quilt, made by the command."""
    return make_bank(tmp_path_factory.mktemp("bank"), None)


@pytest.fixture(scope="session")
def reproduced(bank):
    """Returns the reproduction of an item at the smallest scale, with made-up runs."""

    @cache
    def reproduce(name):
        item = ITEMS[name]
        reproducer = KnownReproducer("http://x", None, SCALES["smoke"], None, lambda _: print)
        defenses = {key: each.format(bank=bank) for key, each in item.defenses.items()}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("harness.reproduce.changes.HttpTarget", KnownTarget)
            figures = item.measure(reproducer, defenses)
        return Reproduction(
            item=name,
            title=item.title,
            scale=("smoke", asdict(SCALES["smoke"])),
            model="m",
            model_sha256=None,
            dataset=DatasetRecord(name="d", candidates=20, selected=2),
            created="2026-01-02T03:04:05+00:00",
            last_call_seconds=1.0,
            versions={},
            notes=item.notes,
            figures=tuple(figures),
            runs=tuple(reproducer.runs),
        )

    return reproduce
