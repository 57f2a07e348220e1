"""The grammar ``name(parameter=value,…)`` of defences and attacks, read by the fields' types.

>>> split_terms("fd(step=20, phase=random)*2 + rdg")
[('fd', 'step=20,phase=random', '2'), ('rdg', '', '')]
>>> from defenses.feature_distillation import FeatureDistillation
>>> read_arguments("fd", "step=20,phase=random", FeatureDistillation)
{'step': 20, 'phase': 'random'}
"""

import math
import re
from dataclasses import fields
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

_TERM = r"([a-z][a-z0-9-]*)(?:\(([^()]*)\))?(?:\*([0-9]{1,3}))?"
_TERMS = re.compile(rf"{_TERM}(?:\+{_TERM})*")
_VALUE_WITH_SPACE = re.compile(r"=\s*[^\s,()]+\s+[^\s,()]")
_WHOLE_NUMBER = re.compile(r"-?[0-9]{1,18}")


class SpecificationError(ValueError):
    """An argument that cannot be read; the message says what is allowed."""


def split_terms(text: str) -> list[tuple[str, str, str]]:
    """Split terms joined by ``+`` into (name, arguments, factor), "" where a part is missing.

    The list is empty if the text does not follow the grammar. A value holds no spaces.
    """
    compact = "".join(text.split())
    if _VALUE_WITH_SPACE.search(text) or not _TERMS.fullmatch(compact):
        return []
    return re.findall(_TERM, compact)


def read_arguments(
    name: str, arguments: str, kind: type[Any], *, strict: bool = True
) -> dict[str, Any]:
    """Read the arguments of a term, each by the type of the field that it names.

    Args:
        name: the name of the term, for messages.
        arguments: ``parameter=value`` joined by commas, without spaces.
        kind: a dataclass. Its fields are bool, int, float (also a fraction, such as 8/255), str, a
            Literal, a tuple (values joined by /), or a union, of which the first type that fits
            counts: ``int | float`` keeps 30 as it is written.
        strict: whether a value that does not fit is an error; otherwise it stays text.

    Raises:
        SpecificationError: a parameter is unknown or given twice, or its value is not allowed.
    """
    types = _types(kind)
    values: dict[str, Any] = {}
    for argument in arguments.split(",") if arguments else []:
        key, equals, text = argument.partition("=")
        if key not in types or not equals:
            rule = f"write parameter=value with {', '.join(types)}; not {argument!r}."
            raise SpecificationError(f"{name}: {rule}")
        if key in values:
            raise SpecificationError(f"{name}: {key} is given twice.")
        try:
            values[key] = _read(types[key], text)
        except ValueError as rule:
            if strict:
                raise SpecificationError(f"{name}: {key} must be {rule}, not {text!r}.") from None
            values[key] = text
    return values


def choices(kind: type[Any]) -> dict[str, dict[str, Any]]:
    """Return for each field its values, by how they are written; nothing if they are too many."""
    return {name: _listed(type_) for name, type_ in _types(kind).items()}


def format_arguments(instance: Any, hidden: frozenset[str] = frozenset()) -> str:
    """Write the fields that differ from their defaults, in brackets; "" if none differs."""
    changed = [
        f"{field.name}={_written(value)}"
        for field in fields(instance)
        if field.name not in hidden and (value := getattr(instance, field.name)) != field.default
    ]
    return f"({','.join(changed)})" if changed else ""


def _written(value: Any) -> str:
    """Write a value in the form that :func:`read_arguments` reads."""
    if isinstance(value, tuple):
        return "/".join(map(_written, value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _types(kind: type[Any]) -> dict[str, Any]:
    types = get_type_hints(kind)
    return {field.name: types[field.name] for field in fields(kind)}


def _listed(type_: Any) -> dict[str, Any]:
    """Return the values of a type that has few, by how they are written."""
    if type_ is bool:
        return {"true": True, "false": False}
    if type_ is NoneType:
        return {"None": None}
    return {each: each for each in get_args(type_)} if get_origin(type_) is Literal else {}


def _read(type_: Any, text: str) -> Any:
    """Read a value; the message of a ValueError is what the type allows."""
    options, origin = get_args(type_), get_origin(type_)
    if origin is tuple:
        return tuple(_read(options[0], part) for part in text.split("/"))
    allowed: list[str] = []
    for option in options if origin in (Union, UnionType) else [type_]:
        listed = _listed(option)
        if text in listed:
            return listed[text]
        if option is str:
            return text
        if option is int and _WHOLE_NUMBER.fullmatch(text):
            return int(text)
        if option is float and math.isfinite(number := _number(text)):
            return number
        allowed += listed or ["a whole number" if option is int else "a number"]
    raise ValueError(" or ".join(allowed))


def _number(text: str) -> float:
    above, slash, below = text.partition("/")
    try:
        return float(above) / (float(below) if slash else 1)
    except (ValueError, ZeroDivisionError):
        return math.nan
