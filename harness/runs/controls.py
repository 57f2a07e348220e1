"""The controls: what changes of the attack's size do without any search.

``noise`` is expected to do nothing. ``stripes`` is reported beside every attack that only posts
images, because it may do much: it shows how much of such an attack's result needs no attack.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from harness.attacks.attack import Attack
from harness.attacks.noise import RandomNoise
from harness.attacks.stripes import Stripes
from harness.rates import accuracy, success_share
from harness.results import Check, ImageResult
from harness.runs.check_context import CheckContext

NOISE_MARGIN = 0.05
"""How much more often noise may be taken for the target than the photographs themselves."""
BEST_OF = 10
"""Among how many stripe images the best one is chosen, by one answer to each."""


def is_control(attack: Attack) -> bool:
    """Return whether an attack is itself a control."""
    return isinstance(attack, RandomNoise | Stripes)


def controls(context: CheckContext, results: Sequence[ImageResult]) -> list[Check]:
    """Post the controls: noise beside every attack, stripes beside those without gradients."""
    checks = [_noise(context, results)]
    if not (context.attack.needs_gradients or is_control(context.attack)):
        checks.append(_stripes(context, results))
    return checks


def _noise(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    attack = context.attack
    control = RandomNoise(norm=attack.norm, epsilon=attack.epsilon, targeted=attack.targeted)
    draws = context.options.scoring_draws
    successes = context.cached("noise", control, context.attacker, context.cases, draws)
    noise = float(np.mean(successes))
    clean = float(np.mean([success_share(each, each.scores[0]) for each in results]))
    return Check(
        name="noise",
        passed=noise <= clean + NOISE_MARGIN,
        detail=f"Noise of the same size succeeds in {100 * noise:.1f} %, and the photographs "
        f"in {100 * clean:.1f} % (wanted: at most {100 * NOISE_MARGIN:.0f} points more).",
        measured={"asr": noise, "clean": clean},
    )


def _stripes(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    attack = context.attack
    one = Stripes(
        norm=attack.norm,
        epsilon=attack.epsilon,
        targeted=False,
        quantized=context.options.quantized,
    )
    without_target = [replace(case, target=None) for case in context.cases]

    def share(name: str, control: Stripes) -> float:
        cases = context.cases if control.targeted else without_target
        draws = context.options.scoring_draws
        return float(np.mean(context.cached(name, control, context.attacker, cases, draws)))

    wrong = share("stripes", one)
    best = share("stripes-best", replace(one, best_of=BEST_OF))
    success = share("stripes-target", replace(one, targeted=True)) if attack.targeted else wrong
    clean = 1 - float(np.mean([accuracy(each, each.scores[0]) for each in results]))
    target = f" {100 * success:.1f} % have the target." if attack.targeted else ""
    return Check(
        name="stripes",
        passed=None,
        detail=f"Random stripes of the same size, without a search, make {100 * wrong:.1f} % of "
        f"the answers wrong, the best of {BEST_OF} makes {100 * best:.1f} %, and the photographs "
        f"have {100 * clean:.1f} % wrong.{target} Only what the attack reaches beyond that is its "
        "own.",
        measured={
            "success": success,
            "wrong": wrong,
            "wrong_best": best,
            "best_of": BEST_OF,
            "clean_wrong": clean,
            "images": len(results),
        },
    )
