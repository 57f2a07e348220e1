"""A dossier as one self-contained HTML file, made from the template ``dossier.html``."""

from harness.report import tables
from harness.report.evidence.model import Dossier, Share
from harness.report.templates import rendered

_KINDS = {
    "not stopped": "bad",
    "accuracy lost": "bad",
    "stopped": "good",
    "too few photographs": "unsure",
    "says little": "unsure",
    "does not count": "unsure",
    "control": "none",
    "yes": "good",
    "no": "bad",
    "not measured": "none",
    "met": "good",
    "not met": "bad",
    "not done": "none",
}
"""The look of each word of a badge. A badge always has its word, so colour alone says nothing."""


def html(dossier: Dossier) -> str:
    """Return the page: it loads no file, runs no script, and prints on A4."""
    about = [run for run in dossier.runs if run.defense == dossier.service.defense]
    return rendered(
        "evidence/dossier.html",
        dossier=dossier,
        about=about,
        others=[run for run in dossier.runs if run not in about],
        numbers={
            answer: sum(row.answer == answer for row in dossier.requirements)
            for answer in ("yes", "no", "not measured")
        },
        versions=_versions(dossier),
        source={each.key: each for each in dossier.sources},
        kinds=_KINDS,
        percent=lambda share: tables.percent(share.share),
        interval=_interval,
        linf=tables.linf,
        number=tables.number,
    )


def _interval(share: Share) -> str:
    return f"{tables.percent(share.share)} [{100 * share.low:.0f}…{100 * share.high:.0f}]"


def _versions(dossier: Dossier) -> list[tuple[str, str]]:
    """Return each set of versions, with the numbers of its runs."""
    numbers: dict[str, list[str]] = {}
    for run in dossier.runs:
        listed = ", ".join(f"{name} {version}" for name, version in run.versions.items())
        numbers.setdefault(listed, []).append(str(run.number))
    return [(listed, ", ".join(each)) for listed, each in numbers.items()]
