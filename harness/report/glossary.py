"""The terms of a report and what they mean, shown beside their headings and in a list."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term: its headings begin with one of ``names``; the first one is in the list."""

    id: str
    names: tuple[str, ...]
    meaning: str


GLOSSARY = (
    Term(
        "asr",
        ("ASR",),
        "attack success rate: the share of answers with the attacker's class; for an untargeted "
        "attack, with any wrong class",
    ),
    Term(
        "acc",
        ("ACC",),
        "accuracy: the share of answers with the true class, over all images and all draws of the "
        "defence",
    ),
    Term(
        "interval",
        ("[low…high]",),
        "95 % Wilson interval over images; the draws of one image are not independent, so they do "
        "not narrow it",
    ),
    Term(
        "any",
        ("any of",),
        "each final iterate was posted N times, on N fresh draws of the defence: the share of "
        "images on which the attack succeeds in at least one draw",
    ),
    Term(
        "majority",
        ("majority of",),
        "the share of images on which the attack succeeds in more than half of the N draws",
    ),
    Term(
        "clean",
        ("clean",),
        "the same figure for the photograph itself: the effect of the defence without an attack",
    ),
    Term(
        "worst",
        ("Worst case",),
        "each image counts with the attack that hurt it most: ACC over all attacks within one "
        "budget; ASR over the targeted attacks, or over the untargeted ones if none is targeted",
    ),
    Term("defence", ("Defence",), "what the endpoint does to an image before it answers"),
    Term(
        "assumed",
        ("assumed",),
        "the endpoint does not describe its defence; the user named the one that the attacker "
        "takes for it",
    ),
    Term(
        "attack",
        ("Attack",),
        "the attack, with the parameters that differ between runs; 'gradients of M' names the "
        "model whose gradients were taken if it is not the attacked one (transfer)",
    ),
    Term(
        "untargeted",
        ("untargeted",),
        "any wrong class counts; otherwise the attacker wants one class of its choice",
    ),
    Term("round", ("Rounds",), "a step of an attack; the clean image is round 0"),
    Term(
        "budget",
        ("Budget",),
        "how far an attack may change an image; 8-bit or float32 is the form in which it was "
        "posted",
    ),
    Term(
        "l2",
        ("l2",),
        "the root mean square of the posted change, with pixels in [0, 1]; mean over images",
    ),
    Term("linf", ("l∞",), "the largest absolute value of the posted change; mean over images"),
    Term(
        "cost",
        ("cost",),
        "for each image: how many gradients were taken (each draw counts as one), how many images "
        "the attack itself posted to the endpoint (queries; those posted for scoring do not "
        "count), and the time of the attack without scoring and checks",
    ),
    Term("gradients", ("gradients",), "check: no gradient is zero everywhere or not finite"),
    Term("budget-check", ("budget",), "check: all iterates and posted images are in the budget"),
    Term(
        "checks",
        ("Checks",),
        "a condition under which an attack is known to work. If it is not met, a failure of the "
        "attack says little about the defence, and a success is at least what the attacker gets",
    ),
    Term(
        "fixed-draw",
        ("fixed-draw",),
        "check: without the randomness of the defence, the attack succeeds",
    ),
    Term(
        "epsilon",
        ("epsilon",),
        "check: the attack succeeds more often with a larger budget, and always without one",
    ),
    Term(
        "iterations",
        ("iterations",),
        "check: twice the rounds do not change the result beyond its interval",
    ),
    Term(
        "draws",
        ("draws",),
        "check: each round, and each answer of the endpoint, has a fresh draw of the defence",
    ),
    Term(
        "endpoint",
        ("endpoint",),
        "check: clean photographs get the answers that the served model gives on the attacker's "
        "machine",
    ),
    Term(
        "noise",
        ("noise",),
        "check: random noise of the same size does not succeed",
    ),
    Term(
        "stripes",
        ("stripes",),
        "control: random vertical stripes of the same size, posted without a search and never "
        "scored. What they make wrong is not the progress of an attack that only posts images",
    ),
)


def term_of(heading: str) -> Term | None:
    """Return the term that a heading begins with, or None."""
    return next((term for term in GLOSSARY if heading.startswith(term.names)), None)
