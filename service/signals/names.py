"""The names of the signals of :mod:`service.signals`, and how an operator writes them."""

from collections.abc import Callable
from typing import Any, TypeAlias

CONCENTRATION, SQUEEZE = "concentration", "squeeze"
SIGNALS = ("same-picture", CONCENTRATION, SQUEEZE)
"""The signs of an attack."""
OFF = "off"
"""No signal, as the operator writes it."""

OnEvent: TypeAlias = Callable[[dict[str, Any]], None]
"""What is called with each event, an OCSF Detection Finding."""


def parse_signals(words: tuple[str, ...]) -> tuple[str, ...]:
    """Return the signals that some words name, each once; ``off`` alone names none.

    Raises:
        ValueError: a word does not name a signal, or another word is beside ``off``.

    >>> parse_signals(("concentration", "same-picture", "concentration"))
    ('concentration', 'same-picture')
    """
    if words == (OFF,):
        return ()
    if wrong := [each for each in words if each not in SIGNALS]:
        raise ValueError(f"{wrong[0]!r} is not a signal: give {', '.join(SIGNALS)}, or {OFF} alone")
    return tuple(dict.fromkeys(words))
