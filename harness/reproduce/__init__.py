"""The paper's tables and Fig. 3, done again: ours beside the paper's.

::

    published ──────────────────────────┐
    items ── defences ── own server     ├── figures ── ITEM.json, ITEM.md, plots
              └── measure(reproducer) ── runs┘

A run is an ordinary one of the harness; tables share those that they have in common.
"""

from harness.reproduce.items import ITEMS
from harness.reproduce.outcome import Figure, Reproduction
from harness.reproduce.scale import SCALES, Scale
from harness.reproduce.text import markdown, plots, terminal
from harness.reproduce.work import reproduce

__all__ = [
    "ITEMS",
    "SCALES",
    "Figure",
    "Reproduction",
    "Scale",
    "markdown",
    "plots",
    "reproduce",
    "terminal",
]
