"""The attacks of ``quick``: a verdict in a few minutes on a few photographs."""

from collections.abc import Iterable
from dataclasses import replace

from harness.attacks import parse_attack
from harness.attacks.attack import Attack
from harness.errors import SurrogateError
from harness.plain import plain
from harness.runs.options import Options

LIMIT = 10
OPTIONS = Options(scoring_draws=8, score_rounds=(), images_at_once=LIMIT, sanity_images=0)
CHECKED_IMAGES = 2
"""How many photographs the sanity checks attack again, for the strongest attack only."""

_SPECIFICATIONS = (
    "noise",
    "i-fgsm",
    "bpda(rounds=20)",
    "bpda-eot(rounds=10,draws=4,step=0.008)",
    "square(queries=200,draws=1)",
    "adaptive(rounds=20,draws=4)",
)


def quick_attacks() -> list[tuple[Attack, Options]]:
    """Return the attacks and their options, the weakest attack first."""
    checked = replace(OPTIONS, sanity_images=CHECKED_IMAGES)
    attacks = [parse_attack(text) for text in _SPECIFICATIONS]
    return [(each, checked if each.name == "adaptive" else OPTIONS) for each in attacks]


def left_out(attacks: Iterable[Attack], error: SurrogateError) -> str:
    """Report which attacks need gradients that the model does not have here, and why."""
    names = ", ".join(attack.name for attack in attacks if attack.needs_gradients)
    return f"Left out: {names}, because they need gradients. {plain(str(error))}"
