"""Whether RobustBench's rules accept a defence.

RobustBench ranks defences by one standard attack, so it accepts only those on which this attack is
meaningful: their gradients are in general not zero, their forward pass is deterministic, and it has
no optimisation loop.
"""

from typing import Final

from defenses import OPERATIONS, measured, split_terms
from harness.plain import plain
from harness.report.evidence.model import RobustBench
from harness.report.tables import percent

_MOSTLY: Final = 0.5
_OPTIMIZES: Final = ("tvm", "menet")
"""The operations that solve an optimisation problem for each image."""
_RULES: Final = (
    "RobustBench ranks models by one standard attack. Therefore it accepts a defence only if its "
    "gradients are in general not zero, its forward pass has no randomness, and it has no "
    "optimisation loop. Its authors give the reason: defences that break these rules often only "
    "make attacks by gradients harder, and do not add robustness, unless they prove a guarantee."
)


def robustbench(defense: str) -> RobustBench:
    """Say whether the rules accept a defence, with the measured properties of its operations.

    The defence is not built, because its specification may name a file.
    """
    named = plain(defense)
    names = list(dict.fromkeys(name for name, _, _ in split_terms(defense)))
    if defense.strip() == "none":
        return RobustBench(
            accepted=True,
            paragraph=f"{_RULES} Without a defence, the rules are about the model alone.",
        )
    if not names or any(name not in OPERATIONS for name in names):
        return RobustBench(
            accepted=None,
            paragraph=f"{_RULES} What {named} does is not known here, so this is not answered.",
        )
    figures = measured().operations
    reasons, unknown = [], [name for name in names if name not in figures]
    for name in names:
        if (one := figures.get(name)) is None:
            continue
        if one.draw_distance > 0:
            reasons.append(
                f"{name} is random (two draws differ by an l2 of {one.draw_distance:.2g})"
            )
        if one.zero_gradient_fraction > _MOSTLY:
            share = percent(one.zero_gradient_fraction)
            reasons.append(f"{name} has a gradient of zero for {share} of its values")
        if name in _OPTIMIZES:
            reasons.append(f"{name} solves an optimisation problem for each image")
    if reasons:
        return RobustBench(
            accepted=False,
            paragraph=f"{_RULES} The rules refuse {named}: {'; '.join(reasons)}. So no entry of "
            "its leaderboard compares with this dossier, which attacks the defence's own code "
            "with fresh draws instead.",
        )
    if unknown:
        return RobustBench(
            accepted=None,
            paragraph=f"{_RULES} The properties of {', '.join(unknown)} are not measured, so this "
            "is not answered.",
        )
    return RobustBench(
        accepted=True,
        paragraph=f"{_RULES} {named} breaks none of them with its default parameters, by its "
        "measured properties.",
    )
