"""What a misspelt name was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_CHARACTERS = 40


def nearest(name: str, allowed: Iterable[str]) -> str | None:
    """The allowed name that is most like a misspelt one; None if no name is like it.

    >>> nearest("TOPK", ["draws", "top_k"])
    'top_k'
    """
    by_key = {each.lower(): each for each in allowed}
    near = get_close_matches(name[:_MOST_CHARACTERS].lower(), by_key, n=1)
    return by_key[near[0]] if near else None


def quoted(name: str) -> str:
    """A client's name in quotes, in ASCII, and not longer than a name can be."""
    return ascii(name[:_MOST_CHARACTERS])
