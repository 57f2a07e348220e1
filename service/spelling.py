"""What a misspelt name was probably meant to be."""

from collections.abc import Iterable
from difflib import get_close_matches

_MOST_CHARACTERS = 40


def did_you_mean(name: str, allowed: Iterable[str]) -> str:
    """A question that names the nearest of the allowed names; empty if none is near.

    >>> did_you_mean("topk", ["draws", "top_k"])
    " Did you mean 'top_k'?"
    """
    by_key = {each.lower(): each for each in allowed}
    near = get_close_matches(name[:_MOST_CHARACTERS].lower(), by_key, n=1)
    return f" Did you mean {by_key[near[0]]!r}?" if near else ""


def quoted(name: str) -> str:
    """A client's name in quotes, in ASCII, and not longer than a name can be."""
    return ascii(name[:_MOST_CHARACTERS])
