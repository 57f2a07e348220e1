"""Whether an attack's failure may be believed: the checks that go with every run.

Carlini et al. 2019 (arXiv:1902.06705) and Zimmermann et al. 2022 (arXiv:2206.13991) found that most
broken evaluations show it: the attack fails where it must not. A failed check does not mean that
the defence is weak. It means that this attack says little about it.

========== ======================================================================
fixed-draw the attack succeeds once the defence's randomness is taken away
epsilon    it succeeds more often with a larger budget, and always without one
iterations twice as many rounds do not change the result beyond its interval
draws      each of its rounds, and each answer of the endpoint, is of a fresh draw
gradients  none was zero everywhere, none had a NaN or an infinity
noise      random noise of the same size does not succeed
budget     every iterate, and what was posted of it, was inside the budget
========== ======================================================================

An attack on the bare model is checked on the bare model: on the endpoint it may well fail.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from defenses import Pipeline
from harness.attacks.attack import Attack, Attacker, run
from harness.attacks.gradient import GradientAttack
from harness.attacks.noise import RandomNoise
from harness.errors import EndpointError
from harness.rates import success_share, wilson
from harness.results import Check, ImageResult, Score
from harness.runs.options import Options
from harness.surrogate.fixed_draw import with_fixed_draw
from harness.types import Case, Posted, Victim

NOISE_MARGIN = 0.05
"""How much more often than the photograph itself random noise may be taken for the target."""

Cached = Callable[[str, Callable[[], list[float]]], list[float]]
"""Measures something, or gives what was measured under that name before."""
OnProgress = Callable[[int, int], None]


@dataclass(frozen=True)
class CheckContext:
    """What the checks attack anew: some of the run's photographs, with the run's attack."""

    attack: Attack
    cases: Sequence[Case]
    attacker: Attacker
    options: Options
    cached: Cached

    @property
    def some(self) -> Sequence[Case]:
        """The photographs that are attacked anew."""
        return self.cases[: self.options.sanity_images]

    def successes(
        self, attack: Attack, attacker: Attacker, cases: Sequence[Case], draws: int
    ) -> list[float]:
        """The share of draws that fall, for each photograph."""
        states = run(attack, cases, attacker)
        posted = [
            attack.budget.post(case.image, state.adversarial, quantized=self.options.quantized)
            for case, state in zip(cases, states, strict=True)
        ]
        return _successes(attacker.victim, cases, posted, draws)

    def base(self, results: Sequence[ImageResult]) -> list[float]:
        """The run's attack as it is."""
        if self.attack.on_bare_model:
            return self.attacked("bare", self.attack)
        return [success_share(each, each.scores[-1]) for each in results[: len(self.some)]]

    def attacked(self, name: str, attack: Attack, fixed: bool = False) -> list[float]:
        """The run's attack with something changed."""
        attacker, draws = self.attacker, self.options.scoring_draws
        if attacker.surrogate is not None and (fixed or attack.on_bare_model):
            known = attacker.surrogate.defense
            defense = Pipeline() if attack.on_bare_model else with_fixed_draw(known)
            surrogate = attacker.surrogate.with_defense(defense)
            attacker, draws = replace(attacker, surrogate=surrogate, victim=surrogate), 1
            if isinstance(attack, GradientAttack):
                attack = replace(attack, draws=1)
        return self.cached(name, lambda: self.successes(attack, attacker, self.some, draws))


def checks_of(
    context: CheckContext, results: Sequence[ImageResult], on_progress: OnProgress = lambda *_: None
) -> list[Check]:
    """All checks, in the order of this module's table."""
    anew = [_fixed_draw, _epsilon, _iterations]
    checks = []
    for number, check in enumerate(anew):
        on_progress(number, len(anew) + 1)
        checks.append(check(context, results))
    checks += [
        _draws(context),
        _gradients(context.attack, results),
        _noise(context, results),
        _budget(context.attack, results),
    ]
    on_progress(len(anew) + 1, len(anew) + 1)
    return checks


def _fixed_draw(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    del results
    name = "fixed-draw"
    if (reason := _not_repeatable(context)) or context.attacker.surrogate is None:
        return Check(name=name, passed=None, detail=reason or "There is no surrogate to fix.")
    shares = context.attacked(name, context.attack, fixed=True)
    where = "on the bare model" if context.attack.on_bare_model else "against one fixed draw"
    return Check(
        name=name,
        passed=sum(shares) >= max(1, len(shares) - 1),
        detail=f"{where} it succeeds on {sum(shares):g} of {len(shares)} photographs "
        "(wanted: all, or all but one)",
        measured={"asr": float(np.mean(shares)), "images": len(shares)},
    )


def _epsilon(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    name = "epsilon"
    if reason := _not_repeatable(context):
        return Check(name=name, passed=None, detail=reason)
    own = context.attack.epsilon
    shares = {
        size: context.base(results)
        if size == own
        else context.attacked(f"epsilon-{size:.4g}", _with_epsilon(context.attack, size))
        for size in sorted({min(size, 1.0) for size in (own / 2, own, 2 * own, 1.0)})
    }
    means = [float(np.mean(each)) for each in shares.values()]
    slack = 1 / len(context.some)  # one photograph
    rises = all(after >= before - slack for before, after in pairwise(means))
    always = all(share > 0.5 for share in shares[1.0])
    shown = ", ".join(f"{100 * m:.0f} % at {s:.3g}" for s, m in zip(shares, means, strict=True))
    return Check(
        name=name,
        passed=rises and always,
        detail=f"ASR {shown} (wanted: rising, and every photograph at 1)",
        measured={f"asr_{size:.4g}": mean for size, mean in zip(shares, means, strict=True)},
    )


def _with_epsilon(attack: Attack, epsilon: float) -> Attack:
    """Steps grow with the budget, but not to the size of the whole image: that jumps about."""
    return replace(attack.with_epsilon(min(epsilon, 4 * attack.epsilon)), epsilon=epsilon)


def _iterations(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    name = "iterations"
    if reason := _not_repeatable(context):
        return Check(name=name, passed=None, detail=reason)
    once = context.base(results)
    twice = context.attacked("iterations-2", context.attack.with_more_iterations(2))
    _, high = wilson(sum(once), len(once))
    before, after = float(np.mean(once)), float(np.mean(twice))
    return Check(
        name=name,
        passed=after <= high,
        detail=f"ASR {100 * before:.0f} %, with twice the iterations {100 * after:.0f} % "
        f"(wanted: at most {100 * high:.0f} %, the interval's end)",
        measured={"asr": before, "asr_twice": after, "images": len(once)},
    )


def _draws(context: CheckContext) -> Check:
    name, attack, attacker = "draws", context.attack, context.attacker
    if attacker.surrogate is None or not attacker.surrogate.defense.random:
        return Check(name=name, passed=None, detail="The defence is not known to be random.")
    cases = context.cases[:1]
    image = attack.budget.post(cases[0].image, cases[0].image, quantized=context.options.quantized)
    try:
        first, second = attacker.victim.probabilities([image, image])
    except EndpointError:
        return Check(name=name, passed=None, detail="The endpoint tells too little to see it.")
    answers_differ = not np.array_equal(first, second)
    rounds_differ = True
    if isinstance(attack, GradientAttack) and attacker.surrogate.is_random(attack.knowledge):
        still = replace(attack, random_start=False)
        steps = [
            still.advance(cases, [still.begin(cases[0], each)], each)[0].adversarial
            for each in (attacker, replace(attacker, seed=attacker.seed + 1))
        ]
        rounds_differ = not np.array_equal(steps[0], steps[1])
    return Check(
        name=name,
        passed=answers_differ and rounds_differ,
        detail=f"two answers to one image {_differ(answers_differ)}, two seeds' first steps "
        f"{_differ(rounds_differ)} (wanted: they differ, where draws play a part)",
        measured={"answers_differ": answers_differ, "rounds_differ": rounds_differ},
    )


def _differ(yes: bool) -> str:
    return "differ" if yes else "are the same"


def _gradients(attack: Attack, results: Sequence[ImageResult]) -> Check:
    name = "gradients"
    if not attack.needs_gradients:
        return Check(name=name, passed=None, detail="It takes no gradients.")
    zero = sum(each.zero_gradients for each in results)
    nonfinite = sum(each.nonfinite_gradients for each in results)
    return Check(
        name=name,
        passed=zero == nonfinite == 0,
        detail=f"{zero} rounds had a zero gradient, {nonfinite} one that is not finite (wanted: 0)",
        measured={"zero": zero, "nonfinite": nonfinite},
    )


def _noise(context: CheckContext, results: Sequence[ImageResult]) -> Check:
    attack = context.attack
    control = RandomNoise(norm=attack.norm, epsilon=attack.epsilon, targeted=attack.targeted)
    draws = context.options.scoring_draws
    shares = context.cached(
        "noise", lambda: context.successes(control, context.attacker, context.cases, draws)
    )
    noise = float(np.mean(shares))
    clean = float(np.mean([success_share(each, each.scores[0]) for each in results]))
    return Check(
        name="noise",
        passed=noise <= clean + NOISE_MARGIN,
        detail=f"noise of the same size succeeds in {100 * noise:.1f} %, the photographs "
        f"themselves in {100 * clean:.1f} % (wanted: at most {100 * NOISE_MARGIN:.0f} points more)",
        measured={"asr": noise, "clean": clean},
    )


def _budget(attack: Attack, results: Sequence[ImageResult]) -> Check:
    sizes = [_size(score, attack.norm) for each in results for score in each.scores]
    outside = sum(each.outside_budget for each in results)
    return Check(
        name="budget",
        passed=max(sizes) <= attack.epsilon + 1e-6 and not outside,
        detail=f"the largest {attack.norm} posted is {max(sizes):.4g} (wanted: at most "
        f"{attack.epsilon:.4g}), {outside} iterates were outside before",
        measured={"largest": max(sizes), "epsilon": attack.epsilon, "outside": outside},
    )


def _size(score: Score, norm: str) -> float:
    """How far a scored image was from its photograph, in a budget's norm."""
    return score.l2_rms if norm == "l2" else score.linf


def _not_repeatable(context: CheckContext) -> str:
    """Why nothing is attacked anew; nothing if it is."""
    if isinstance(context.attack, RandomNoise):
        return "It is the control itself."
    return "" if context.some else "Left out: no photographs were given to it."


def _successes(
    victim: Victim, cases: Sequence[Case], posted: Sequence[Posted], draws: int
) -> list[float]:
    answers = victim.classes([image for image in posted for _ in range(draws)])
    return [
        float(np.mean(row != case.label if case.target is None else row == case.target))
        for case, row in zip(cases, answers.reshape(len(cases), draws), strict=True)
    ]
