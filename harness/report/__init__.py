"""Reports of runs: a page, Markdown, plots, and a table for the terminal.

::

    runs ── grouped ──┬── verdict ─┬── page        one self-contained HTML file
                      ├── tables ──┼── markdown
                      │            └── terminal
                      ├── figures ─┴── PNG
                      └── image_grid   original / adversarial / difference / defended

Only runs on the same photographs and the same model share a table.
"""

from harness.report.page import html
from harness.report.plot_files import plots
from harness.report.text import markdown, terminal

__all__ = ["html", "markdown", "plots", "terminal"]
