"""Every attack by its name, and one-line specifications: ``adaptive(rounds=50,loss=margin)``."""

import math
import re
from collections.abc import Callable
from dataclasses import fields
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from harness.attacks.art import CarliniWagner, DeepFool, Fgsm, IFgsm
from harness.attacks.attack import Attack
from harness.attacks.gradient import Adaptive, Bpda, BpdaEot, SemiBruteForce
from harness.attacks.hopskipjump import HopSkipJump
from harness.attacks.l_bfgs import LBfgs
from harness.attacks.noise import RandomNoise
from harness.attacks.square import Square
from harness.errors import AttackError

ATTACKS: dict[str, type[Attack]] = {
    attack.name: attack
    for attack in (
        Fgsm,
        IFgsm,
        LBfgs,
        CarliniWagner,
        DeepFool,
        Bpda,
        BpdaEot,
        SemiBruteForce,
        Adaptive,
        Square,
        HopSkipJump,
        RandomNoise,
    )
}
"""Every attack by the name that a specification calls it. A new one is one line here."""

_LEVELS = 255
_TERM = re.compile(r"(?P<name>[a-z0-9-]+)(?:\((?P<arguments>[^()]*)\))?")
_SYNTAX = "Write a name, and parameters where they differ: adaptive or adaptive(rounds=50,draws=10)"


def parse_attack(text: str) -> Attack:
    """Read a specification.

    Args:
        text: a name, and in brackets the parameters that differ from the defaults, joined by
            commas: ``adaptive(rounds=50,loss=margin,momenta=0/0.9/0.99,random_start=true)``. A
            number may be a fraction: ``epsilon=8/255``.

    Raises:
        AttackError: a name, a parameter or a value that is not allowed; it says what is.
    """
    term = _TERM.fullmatch("".join(text.split()))
    if term is None:
        raise AttackError(f"{text!r} is not an attack. {_SYNTAX}.")
    name, arguments = term["name"], term["arguments"]
    kind = ATTACKS.get(name)
    if kind is None:
        raise AttackError(f"There is no attack {name!r}, only {', '.join(ATTACKS)}.")
    types = _parameters(kind)
    given: dict[str, Any] = {}
    for argument in arguments.split(",") if arguments else []:
        key, equals, value = argument.partition("=")
        if key not in types or not equals:
            raise AttackError(
                f"{name}: write parameter=value with {', '.join(types)}; not {argument!r}."
            )
        if key in given:
            raise AttackError(f"{name}: {key} is given twice.")
        try:
            given[key] = _read(types[key], value)
        except _WrongValueError as allowed:
            raise AttackError(f"{name}: {key} is {allowed}, not {value!r}.") from None
    return kind(**given)


def specification(attack: Attack) -> str:
    """What :func:`parse_attack` reads back: the name and the parameters that differ."""
    default = type(attack)()
    differing = [
        f"{key}={_written(getattr(attack, key))}"
        for key in _parameters(type(attack))
        if getattr(attack, key) != getattr(default, key)
    ]
    return f"{attack.name}({','.join(differing)})" if differing else attack.name


def described(kind: type[Attack]) -> list[str]:
    """Each parameter as a specification has it, for people: the default, then what else it can be.

    ``norm=l2 | linf`` where the values can be counted, ``epsilon=8/255`` where they cannot.
    """
    default = kind()
    shown = []
    for key, type_ in _parameters(kind).items():
        value = getattr(default, key)
        others = [each for each in _choices(type_) if each != value and _allowed(kind, key, each)]
        shown.append(f"{key}={' | '.join(map(_shown, (value, *others)))}")
    return shown


class _WrongValueError(ValueError):
    """Says what is allowed."""


def _parameters(kind: type[Attack]) -> dict[str, Any]:
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in fields(kind)}


def _choices(type_: Any) -> tuple[Any, ...]:
    if type_ is bool:
        return (True, False)
    return get_args(type_) if get_origin(type_) is Literal else ()


def _allowed(kind: type[Attack], key: str, value: Any) -> bool:
    """Whether the attack takes it: a type may have values that one attack refuses."""
    try:
        kind(**{key: value})
    except AttackError:
        return False
    return True


def _read(kind: Any, text: str) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise _WrongValueError(f"one of {', '.join(get_args(kind))}")
        return text
    if get_origin(kind) is tuple:
        return tuple(_decimal(part) for part in text.split("/"))
    return _READERS[kind](text)


def _boolean(text: str) -> bool:
    if text not in ("true", "false"):
        raise _WrongValueError("true or false")
    return text == "true"


def _whole(text: str) -> int:
    if not re.fullmatch(r"-?[0-9]{1,18}", text):
        raise _WrongValueError("a whole number")
    return int(text)


def _decimal(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise _WrongValueError("a number")
    return number


def _fraction(text: str) -> float:
    above, slash, below = text.partition("/")
    divisor = _decimal(below) if slash else 1.0
    if divisor == 0:
        raise _WrongValueError("a number")
    return _decimal(above) / divisor


_READERS: MappingProxyType[type, Callable[[str], Any]] = MappingProxyType(
    {bool: _boolean, int: _whole, float: _fraction}
)


def _written(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return "/".join(map(_written, value))
    return str(value)


def _shown(value: Any) -> str:
    """As :func:`_written`, but short: steps of 8-bit images are fractions, as they are typed."""
    if isinstance(value, tuple):
        return "/".join(map(_shown, value))
    if not isinstance(value, float):
        return _written(value)
    short = f"{value:g}"
    steps = round(value * _LEVELS)
    return short if float(short) == value or steps / _LEVELS != value else f"{steps}/{_LEVELS}"
