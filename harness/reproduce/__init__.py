"""A reproduction of the paper's tables and Fig. 3, with our figures next to the paper's.

::

    published ───────────────────────────────────┐
    items ── defences ── server                  ├── figures ── ITEM.json, ITEM.md, plots
                └── measure(reproducer) ── runs ─┘

The runs are ordinary runs of the harness. Tables share the runs that they have in common.
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
