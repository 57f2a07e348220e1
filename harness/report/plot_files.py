"""The files of ``--plots``: each plot as PNG, SVG and PDF, a summary, and all figures as CSV."""

import csv
from collections.abc import Sequence
from io import StringIO

from matplotlib.figure import Figure

from harness.report.attackers import attacker_of, gradients_of
from harness.report.bars import summary
from harness.report.figures import FORMATS, MEASURES, drawn_as, figure
from harness.report.groups import Group, grouped, plain
from harness.report.styles import DARK, LIGHT
from harness.report.verdict import verdicts
from harness.results import Run

_COLUMNS = (
    "photographs of",
    "model",
    "defense",
    "attack",
    "attacker",
    "gradients of",
    "targeted",
    "norm",
    "epsilon",
    "images",
    "draws",
    "checks not met",
    "round",
    "l2",
    "linf",
)
_RATES = ("acc", "asr", "any", "majority")


def plots(runs: Sequence[Run]) -> dict[str, bytes]:
    """Return files by name.

    ``summary`` has all runs, also for a dark background. ``acc-by-round`` and ``asr-by-round`` have
    the runs of one group (see :func:`grouped`); if there are several groups, each has its own pair,
    such as ``acc-by-round-1``. ``rates.csv`` has a row for each scored round of each run.

    Raises:
        RunError: there are no runs, or a run lacks something that a report needs.
    """
    groups = grouped(runs)
    found = verdicts(groups)
    drawn: dict[str, Figure] = {
        "summary": summary(found, LIGHT),
        "summary-dark": summary(found, DARK),
    }
    for number, group in enumerate(groups, 1):
        suffix = f"-{number}" if len(groups) > 1 else ""
        for measure in MEASURES:
            drawn[f"{measure}-by-round{suffix}"] = figure(group, measure)
    files = {
        f"{name}.{format_}": drawn_as(each, format_)
        for name, each in drawn.items()
        for format_ in FORMATS
    }
    return files | {"rates.csv": rates_csv(groups)}


def rates_csv(groups: Sequence[Group]) -> bytes:
    """Return the rates of all scored rounds with their intervals; shares are in [0, 1]."""
    text = StringIO()
    table = csv.writer(text, lineterminator="\n")
    ends = [f"{name}{end}" for name in _RATES for end in ("", " low", " high")]
    table.writerow([*_COLUMNS, *ends])
    for group in groups:
        for entry in group.entries:
            run = entry.run
            about = [
                plain(run.dataset.name),
                plain(run.endpoint.model),
                entry.defense,
                entry.attack,
                attacker_of(run),
                plain(gradients_of(run) or ""),
                run.attack.targeted,
                run.attack.norm,
                run.attack.epsilon,
                len(run.images),
                run.scoring_draws,
                " ".join(plain(check.name) for check in entry.failed),
            ]
            for round_, rates in entry.by_round.items():
                shares = [getattr(rates, name) for name in _RATES]
                row = [each for rate in shares for each in (rate.share, rate.low, rate.high)]
                table.writerow([*about, round_, rates.l2_rms, rates.linf, *row])
    return text.getvalue().encode()
