"""Colours, dashes and markers of plots. No two runs in a plot have the same three."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from harness.report.groups import Entry

Dash: TypeAlias = str | tuple[int, tuple[int, ...]]

# Okabe and Ito 2008, for all kinds of colour vision. Black and yellow are left out, because each
# would vanish on one of the two backgrounds.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
DASHES: tuple[Dash, ...] = (
    "solid",
    (0, (5, 2)),
    (0, (1, 1)),
    (0, (6, 2, 1, 2)),
    (0, (8, 3)),
    (0, (3, 1, 1, 1, 1, 1)),
)
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


@dataclass(frozen=True)
class Theme:
    """The colours of a plot's background, text and grid, and of the parts of a bar."""

    ground: str
    ink: str
    faint: str
    right: str
    wrong: str
    gained: str


LIGHT = Theme("#ffffff", "#24292f", "#d8dee4", "#8cc7b5", "#e8b33f", "#c8500a")
DARK = Theme("#171b21", "#d7dde4", "#39414b", "#2c6e5c", "#c08a1c", "#ee7733")


@dataclass(frozen=True)
class Style:
    """How one run is drawn."""

    colour: str
    dash: Dash
    marker: str


def styles(entries: Sequence[Entry]) -> dict[int, Style]:
    """Return the style of each run by its number.

    A colour and a marker mean a defence, and a dash an attack; from the eighth defence on, colours
    come again with another dash. If all runs are on one defence, all three mean an attack.
    """
    attacks = list(dict.fromkeys(entry.attack for entry in entries))
    defenses = list(dict.fromkeys(entry.defense for entry in entries))
    found = {}
    for entry in entries:
        minor = attacks.index(entry.attack)
        major = defenses.index(entry.defense) if len(defenses) > 1 else minor
        cycle = major // len(COLOURS)  # a colour that comes again has another dash
        # 7 and 8 have no common factor, so colour and marker together repeat after 56 only.
        found[entry.number] = Style(
            COLOURS[major % len(COLOURS)],
            DASHES[(minor + cycle) % len(DASHES)],
            MARKERS[(major + 3 * (minor // len(DASHES))) % len(MARKERS)],
        )
    return found
