"""JSON of the server into the dataclasses of :mod:`warpguard.answers`, by the types of the fields.

Fields that a dataclass does not have are ignored, because a newer server may send more.

>>> from warpguard.answers import ClassProbability
>>> read(ClassProbability, {"index": 3, "label": "cat", "new": 1}, "answer")
ClassProbability(index=3, label='cat', probability=None)
>>> read(ClassProbability, {"index": 3}, "answer")
Traceback (most recent call last):
warpguard.errors.AnswerError: answer.label is missing.
"""

from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import cache
from types import NoneType, UnionType
from typing import Any, TypeVar, cast, get_args, get_origin, get_type_hints

from warpguard.errors import AnswerError

T = TypeVar("T")


def read(kind: type[T], value: Any, where: str) -> T:
    """Read a dataclass.

    Args:
        kind: a dataclass whose fields are bool, int, float, str, a mapping, another dataclass, a
            tuple of any length, or one of these or None.
        value: what :func:`json.loads` returned.
        where: the name of the value, for messages.

    Raises:
        AnswerError: a field is missing, or has another type.
    """
    if not isinstance(value, dict):
        raise AnswerError(f"{where} must be an object, not {_shown(value)}.")
    given = {}
    for name, type_, required in _fields(cast(Any, kind)):
        if name in value:
            given[name] = _value(type_, value[name], f"{where}.{name}")
        elif required:
            raise AnswerError(f"{where}.{name} is missing.")
    return kind(**given)


@cache
def _fields(kind: type[Any]) -> tuple[tuple[str, Any, bool], ...]:
    types = get_type_hints(kind)
    return tuple((each.name, types[each.name], each.default is MISSING) for each in fields(kind))


def _value(type_: Any, value: Any, where: str) -> Any:
    origin, options = get_origin(type_), get_args(type_)
    if origin is UnionType:  # a type or None
        if value is None:
            return None
        (type_,) = (each for each in options if each is not NoneType)
        return _value(type_, value, where)
    if origin is tuple:
        if not isinstance(value, list):
            raise AnswerError(f"{where} must be a list, not {_shown(value)}.")
        each = enumerate(value)
        return tuple(_value(options[0], item, f"{where}[{index}]") for index, item in each)
    if isinstance(type_, type) and is_dataclass(type_):
        return read(type_, value, where)
    if origin is Mapping:
        type_ = dict
    if type_ is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not type_:
        raise AnswerError(f"{where} must be a {type_.__name__}, not {_shown(value)}.")
    return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:80]}…"
