"""The attacks by name, and specifications such as ``adaptive(rounds=50,loss=margin)``."""

from typing import Any

from defenses import (
    Registry,
    SpecificationError,
    choices,
    format_arguments,
    read_arguments,
    split_terms,
)
from harness.attacks.art import CarliniWagner, DeepFool, Fgsm, IFgsm
from harness.attacks.attack import Attack
from harness.attacks.gradient import Adaptive, Bpda, BpdaEot, SemiBruteForce
from harness.attacks.hopskipjump import HopSkipJump
from harness.attacks.l_bfgs import LBfgs
from harness.attacks.noise import RandomNoise
from harness.attacks.pgd import Pgd
from harness.attacks.simba import Simba
from harness.attacks.square import Square
from harness.attacks.stripes import Stripes
from harness.errors import AttackError

ATTACKS: Registry[Attack] = Registry(
    "warpguard.attacks",
    Attack,
    (
        Fgsm,
        IFgsm,
        LBfgs,
        CarliniWagner,
        DeepFool,
        Bpda,
        BpdaEot,
        SemiBruteForce,
        Adaptive,
        Pgd,
        Square,
        Simba,
        HopSkipJump,
        RandomNoise,
        Stripes,
    ),
    check=lambda kind: described(kind),
)
"""All attacks by their names in specifications. A new attack is one line here."""

_LEVELS = 255


def parse_attack(text: str) -> Attack:
    """Read a specification.

    Args:
        text: a name, and in brackets the parameters that differ from the defaults, such as
            ``adaptive(rounds=50,loss=margin,momenta=0/0.9/0.99,random_start=true)``. A number may
            be a fraction, such as ``epsilon=8/255``.

    Raises:
        AttackError: a name, a parameter or a value is not allowed; it says what is allowed.
    """
    match split_terms(text):
        case [(name, arguments, "")]:
            pass
        case _:
            raise AttackError(
                f"{text!r} is not a valid attack. Write a name, and parameters where they differ "
                "from the defaults, such as adaptive or adaptive(rounds=50,draws=10); "
                "a value holds no spaces, commas or brackets."
            )
    try:
        kind = ATTACKS.get(name)
        if kind is None:
            raise AttackError(f"Unknown attack {name!r}. Attacks: {', '.join(ATTACKS)}.")
        return kind(**read_arguments(name, arguments, kind))
    except SpecificationError as error:
        raise AttackError(str(error)) from None


def specification(attack: Attack) -> str:
    """Write the specification that :func:`parse_attack` reads, without parameters at default."""
    return attack.name + format_arguments(attack)


def described(kind: type[Attack]) -> list[str]:
    """Describe each parameter by its default and the other values that are allowed.

    The other values appear only if they can be listed: ``norm=l2 | linf``, but ``epsilon=8/255``.
    """
    default = kind()
    shown = []
    for key, listed in choices(kind).items():
        value = getattr(default, key)
        others = [text for text, each in listed.items() if each != value]
        others = [text for text in others if _allowed(kind, key, listed[text])]
        shown.append(f"{key}={' | '.join((_shown(value), *others))}")
    return shown


def _allowed(kind: type[Attack], key: str, value: Any) -> bool:
    """Return whether the attack allows a value; an attack may refuse a value of the type."""
    try:
        kind(**{key: value})
    except AttackError:
        return False
    return True


def _shown(value: Any) -> str:
    """Write a value in short; multiples of 1/255 are fractions, as users type them."""
    if isinstance(value, tuple):
        return "/".join(map(_shown, value))
    if not isinstance(value, float):
        return str(value).lower() if isinstance(value, bool) else str(value)
    short = f"{value:g}"
    steps = round(value * _LEVELS)
    return short if float(short) == value or steps / _LEVELS != value else f"{steps}/{_LEVELS}"
