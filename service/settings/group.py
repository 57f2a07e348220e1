"""What every group of settings shares: its base class, and how a list is written."""

import re
from typing import Annotated, Any, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict
from pydantic_settings import NoDecode


class Group(BaseModel):
    """Some settings of one room; the docstring of a field is its help."""

    model_config = ConfigDict(use_attribute_docstrings=True)


def _parts(value: Any) -> Any:
    """Split a variable's value at commas, except at those between a defence's parameters."""
    if not isinstance(value, str):
        return value
    return tuple(part for part in re.split(r"[,\s]+(?![^(]*\))", value) if part)


Words: TypeAlias = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_parts)]
"""Several words; in a variable they are separated by spaces or commas."""
