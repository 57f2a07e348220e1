"""The verdict in a few minutes: a handful of attacks on a handful of photographs."""

from dataclasses import replace

from harness.attacks import parse_attack
from harness.attacks.attack import Attack
from harness.runs.options import Options

LIMIT = 10
OPTIONS = Options(scoring_draws=8, score_rounds=(), images_at_once=LIMIT, sanity_images=0)
CHECKED_IMAGES = 2
"""On how many photographs the checks attack anew, for the strongest attack alone."""

_SPECIFICATIONS = (
    "noise",
    "i-fgsm",
    "bpda(rounds=20)",
    "bpda-eot(rounds=10,draws=4,step=0.008)",
    "square(queries=200,draws=1)",
    "adaptive(rounds=20,draws=4)",
)


def attacks() -> list[tuple[Attack, Options]]:
    """What is run, the weakest first."""
    listed = [parse_attack(text) for text in _SPECIFICATIONS]
    return [
        (
            attack,
            replace(OPTIONS, sanity_images=CHECKED_IMAGES)
            if attack.name == "adaptive"
            else OPTIONS,
        )
        for attack in listed
    ]
