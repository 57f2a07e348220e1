"""The controls that are posted beside an attack."""

from dataclasses import dataclass, replace

import numpy as np
import pytest

from harness.attacks import parse_attack
from harness.attacks.attack import Attacker
from harness.results import DatasetRecord, EndpointRecord
from harness.runs.options import Options
from harness.runs.run import Setup, execute
from harness.types import Case

SIDE = 16
CASES = [
    Case(f"{number}.png", np.full((SIDE, SIDE, 3), (120 + number) / 255, np.float32), 0, 1)
    for number in range(4)
]


@dataclass
class Stripeless:
    """An endpoint that answers 1 to stripes (of some strength) and 0 to all other images."""

    least: float
    every: int = 1
    posts: int = 0

    def _answer(self, image):
        image = np.asarray(image, np.float32) / (255 if image.dtype == np.uint8 else 1)
        self.posts += 1
        striped = image.mean(axis=0).std() > self.least and self.posts % self.every == 0
        return int(striped)

    def classes(self, images):
        return np.array([self._answer(image) for image in images], np.intp)

    def probabilities(self, images, draws=1):
        answers = np.array([[self._answer(i) for _ in range(draws)] for i in images])
        wrong = answers.mean(axis=1)
        return np.stack([0.9 - 0.8 * wrong, 0.1 + 0.8 * wrong], axis=1).astype(np.float32)


def checks(folder, text, victim, cases=CASES):
    attack = parse_attack(text)
    if not attack.targeted:
        cases = [replace(case, target=None) for case in cases]
    run = execute(
        Setup(
            attack=attack,
            cases=cases,
            attacker=Attacker(None, victim),
            endpoint=EndpointRecord(
                url="http://endpoint",
                model="stripes",
                model_sha256=None,
                defense="none",
                protocol="v2",
                quantized=True,
            ),
            dataset=DatasetRecord(name="toy", candidates=len(cases), selected=len(cases)),
            folder=folder,
            options=Options(scoring_draws=4, sanity_images=0),
        )
    )
    return {check.name: check for check in run.checks}


@pytest.mark.parametrize(
    "text",
    [
        "square(queries=60,rounds=1)",
        "square(queries=60,rounds=1,norm=l2,epsilon=8/255)",
        "hopskipjump(rounds=1,directions=5,epsilon=8/255)",
        "square(queries=60,rounds=1,targeted=false)",
    ],
)
def test_stripes_are_measured_beside_an_attack_without_gradients(text, tmp_path):
    check = checks(tmp_path, text, Stripeless(least=0.02))["stripes"]
    assert check.passed is None
    assert check.measured == {
        "success": 1,
        "wrong": 1,
        "wrong_best": 1,
        "best_of": 10,
        "clean_wrong": 0,
        "images": 4,
    }
    assert "make 100.0 % of the answers wrong, the best of 10 makes 100.0 %" in check.detail


def test_stripes_that_do_nothing_are_measured_too(tmp_path):
    measured = checks(tmp_path, "square(queries=60,rounds=1)", Stripeless(least=1))[
        "stripes"
    ].measured
    assert measured["success"] == measured["wrong"] == measured["wrong_best"] == 0


def test_success_is_the_target_of_a_targeted_attack(tmp_path):
    other = [replace(case, target=2) for case in CASES]
    attack = "hopskipjump(rounds=1,directions=5,epsilon=8/255,targeted=true)"
    check = checks(tmp_path, attack, Stripeless(least=0.02), other)["stripes"]
    assert (check.measured["success"], check.measured["wrong"]) == (0, 1)
    assert "0.0 % have the target" in check.detail


def test_the_best_of_some_is_scored_on_fresh_answers(tmp_path):
    """Where every fifth answer is wrong by chance, a choice of the lucky image gains nothing."""
    victim = Stripeless(least=0.02, every=5)
    measured = checks(tmp_path, "square(queries=60,rounds=1)", victim)["stripes"].measured
    assert measured["wrong"] == pytest.approx(0.2, abs=0.07)
    assert measured["wrong_best"] == pytest.approx(0.2, abs=0.07)


@pytest.mark.parametrize("text", ["noise", "stripes"])
def test_a_control_has_no_stripes_beside_it(text, tmp_path):
    found = checks(tmp_path, text, Stripeless(least=0.02))
    assert "stripes" not in found
    assert found["noise"].passed is True
    assert found["fixed-draw"].detail == "Skipped: this attack is the control itself."


def test_stripes_are_not_posted_again_if_a_run_is_repeated(tmp_path):
    first = checks(tmp_path, "square(queries=60,rounds=1)", Stripeless(least=0.02))
    again = Stripeless(least=1)
    assert checks(tmp_path, "square(queries=60,rounds=1)", again)["stripes"] == first["stripes"]
    assert again.posts == 0
    kept = {file.name for file in (tmp_path / "checks").iterdir()}
    assert {"noise.json", "stripes.json", "stripes-best.json", "stripes-target.json"} <= kept
