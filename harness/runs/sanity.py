"""The checks that go with every run: whether the attack's failure can be believed.

Carlini et al. 2019 (arXiv:1902.06705) and Zimmermann et al. 2022 (arXiv:2206.13991) found that most
broken evaluations can be recognised, because the attack fails where it must succeed. A failed check
does not mean that the defence is weak. It means that this attack says little about the defence.

========== ======================================================================
fixed-draw the attack succeeds when the defence's randomness is taken away
epsilon    it succeeds more often with a larger budget, and always without one
iterations twice as many rounds do not change the result beyond its interval
draws      each of its rounds, and each answer of the endpoint, uses a fresh draw
endpoint   it answers clean photographs as the served model does on this machine
gradients  no gradient is zero everywhere or has a NaN or an infinity
noise      random noise of the same size does not succeed
stripes    (measured only) random stripes of the same size, if the attack takes no gradients
budget     every iterate, and every image posted of it, is inside the budget
========== ======================================================================

An attack on the bare model is checked on the bare model, because it may well fail on the endpoint.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from harness.attacks.attack import Attack
from harness.attacks.gradient import GradientAttack
from harness.errors import HiddenProbabilitiesError
from harness.rates import wilson
from harness.results import Check, ImageResult
from harness.runs.check_context import CheckContext
from harness.runs.controls import controls, is_control
from harness.runs.endpoint_check import endpoint_check
from harness.types import OnProgress

_MOST_DRAWS = 16
"""Two draws may agree by chance: on an image of 16 px, two of ``rdg`` do so in 41 % of cases."""


def checks_of(
    context: CheckContext, results: Sequence[ImageResult], on_progress: OnProgress = lambda *_: None
) -> list[Check]:
    """Make all checks, in the order of this module's table."""
    attacking = [_fixed_draw, _epsilon, _iterations]
    checks = []
    for number, check in enumerate(attacking):
        on_progress("checks", number, len(attacking) + 1)
        checks.append(check(context, results))
    checks += [
        _draws(context),
        endpoint_check(
            context.attacker.victim,
            context.copy,
            context.cases,
            results,
            quantized=context.options.quantized,
        ),
        _gradients(context.attack, results),
        *controls(context, results),
        _budget(context.attack, results),
    ]
    on_progress("checks", len(attacking) + 1, len(attacking) + 1)
    return checks


def _fixed_draw(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    del results
    name = "fixed-draw"
    if (reason := _reason_to_skip(context)) or context.attacker.surrogate is None:
        return Check(name=name, passed=None, detail=reason or "Skipped: there is no surrogate.")
    successes = context.changed(name, context.attack, fixed=True)
    where = "On the bare model" if context.attack.on_bare_model else "Against one fixed draw"
    return Check(
        name=name,
        passed=sum(successes) >= max(1, len(successes) - 1),
        detail=f"{where} it succeeds on {sum(successes):g} of {len(successes)} photographs "
        "(wanted: on all, or on all but one).",
        measured={"asr": float(np.mean(successes)), "images": len(successes)},
    )


def _epsilon(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    name = "epsilon"
    if reason := _reason_to_skip(context):
        return Check(name=name, passed=None, detail=reason)
    own = context.attack.epsilon
    successes = {
        size: context.unchanged(results)
        if size == own
        else context.changed(f"epsilon-{size!r}", _with_epsilon(context.attack, size))
        for size in sorted({min(size, 1.0) for size in (own / 2, own, 2 * own, 1.0)})
    }
    means = [float(np.mean(each)) for each in successes.values()]
    slack = 1 / len(context.checked_cases)  # one photograph
    rises = all(after >= before - slack for before, after in pairwise(means))
    always = all(each > 0.5 for each in successes[1.0])
    shown = ", ".join(f"{100 * m:.0f} % at {s:.3g}" for s, m in zip(successes, means, strict=True))
    return Check(
        name=name,
        passed=rises and always,
        detail=f"The ASR is {shown} (wanted: rising, and every photograph at 1).",
        measured={f"asr_{size!r}": mean for size, mean in zip(successes, means, strict=True)},
    )


def _with_epsilon(attack: Attack, epsilon: float) -> Attack:
    """Scale the steps with the budget, but at most by four: longer steps would jump about."""
    return replace(attack.with_epsilon(min(epsilon, 4 * attack.epsilon)), epsilon=epsilon)


def _iterations(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    name = "iterations"
    if reason := _reason_to_skip(context):
        return Check(name=name, passed=None, detail=reason)
    once = context.unchanged(results)
    twice = context.changed("iterations-2", context.attack.with_more_iterations(2))
    _, high = wilson(sum(once), len(once))
    before, after = float(np.mean(once)), float(np.mean(twice))
    return Check(
        name=name,
        passed=after <= high,
        detail=f"The ASR is {100 * before:.0f} %, and {100 * after:.0f} % with twice as many "
        f"iterations (wanted: at most {100 * high:.0f} %, the end of the interval).",
        measured={"asr": before, "asr_twice": after, "images": len(once)},
    )


def _draws(context: CheckContext) -> Check:
    name, attack, attacker = "draws", context.attack, context.attacker
    if attacker.surrogate is None or not attacker.surrogate.defense.random:
        return Check(name=name, passed=None, detail="The defence is not known to be random.")
    cases = context.cases[:1]
    image = attack.budget.post(cases[0].image, cases[0].image, quantized=context.options.quantized)
    try:
        answers = attacker.victim.probabilities([image] * _MOST_DRAWS)
    except HiddenProbabilitiesError:
        return Check(name=name, passed=None, detail="The endpoint returns no probabilities.")
    answers_differ = bool((answers != answers[0]).any())
    rounds_differ = True
    surrogate = attacker.surrogate_for(attack) if isinstance(attack, GradientAttack) else None
    if isinstance(attack, GradientAttack) and surrogate and surrogate.is_random(attack.knowledge):
        at_photograph = replace(attack, random_start=False)
        others = (replace(attacker, seed=attacker.seed + n) for n in range(_MOST_DRAWS))
        steps = (
            at_photograph.advance(cases, [at_photograph.begin(cases[0], each)], each)[0].adversarial
            for each in others
        )
        first = next(steps)
        rounds_differ = not all(np.array_equal(first, step) for step in steps)
    return Check(
        name=name,
        passed=answers_differ and rounds_differ,
        detail=f"The answers to one image {_differ(answers_differ)}, and the first steps of "
        f"several seeds {_differ(rounds_differ)} (wanted: they differ, where draws play a part).",
        measured={"answers_differ": answers_differ, "rounds_differ": rounds_differ},
    )


def _differ(yes: bool) -> str:
    return "differ" if yes else "are the same"


def _gradients(attack: Attack, results: Sequence[ImageResult]) -> Check:
    name = "gradients"
    if not attack.needs_gradients:
        return Check(name=name, passed=None, detail="The attack takes no gradients.")
    zero = sum(each.zero_gradients for each in results)
    nonfinite = sum(each.nonfinite_gradients for each in results)
    return Check(
        name=name,
        passed=zero == nonfinite == 0,
        detail=f"{zero} rounds had a zero gradient, and {nonfinite} a non-finite one (wanted: 0).",
        measured={"zero": zero, "nonfinite": nonfinite},
    )


def _budget(attack: Attack, results: Sequence[ImageResult]) -> Check:
    scores = [score for each in results for score in each.scores]
    sizes = [score.l2_rms if attack.norm == "l2" else score.linf for score in scores]
    outside = sum(each.outside_budget for each in results)
    return Check(
        name="budget",
        passed=max(sizes) <= attack.epsilon + 1e-6 and not outside,
        detail=f"The largest {attack.norm} posted is {max(sizes):.4g} (wanted: at most "
        f"{attack.epsilon:.4g}), and {outside} iterates were outside before they were projected.",
        measured={"largest": max(sizes), "epsilon": attack.epsilon, "outside": outside},
    )


def _reason_to_skip(context: CheckContext) -> str:
    """Return why no photograph is attacked again, or an empty text if some are."""
    if is_control(context.attack):
        return "Skipped: this attack is the control itself."
    return "" if context.checked_cases else "Skipped: no photographs are attacked again."
