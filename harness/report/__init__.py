"""What runs came to: a page, Markdown, plots, and a table for the terminal.

::

    runs ── grouped ──┬── tables ──┬── page        one self-contained HTML file
                      │            ├── markdown
                      │            └── terminal
                      ├── figures ─┴── PNG
                      └── strip        original / adversarial / difference / defended

Runs stand in one table only where they attacked the same photographs and the same model.
"""

from harness.report.figures import plots
from harness.report.page import html
from harness.report.text import markdown, verdict

__all__ = ["html", "markdown", "plots", "verdict"]
