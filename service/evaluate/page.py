"""A report as one self-contained page: it loads no file and runs no script."""

from collections.abc import Iterable, Sequence
from html import escape
from math import floor
from pathlib import Path

from service.evaluate import figures
from service.evaluate.conditions import NONE
from service.evaluate.recommendation import Recommendation, recommend
from service.evaluate.report import Report
from service.evaluate.text import (
    HEADINGS,
    SELECTIVE,
    cells,
    explanation,
    remarks,
    selective,
    selective_headings,
    selective_rows,
)

_FOLDER = Path(__file__).parent
_STEP = 10
"""The axis of the chart begins at a multiple of so many percent."""


def html(report: Report) -> str:
    """Return the page."""
    advice = recommend(report)
    styles = "\n".join((_FOLDER / name).read_text("utf-8") for name in ("theme.css", "page.css"))
    parts = [
        "<header>",
        f"<h1>What the defence costs: {escape(report.model)} on {escape(report.data)}</h1>",
        f'<p class="soft">{report.images} images, {escape(report.created)}, '
        f"warpguard {escape(report.warpguard)}</p>",
        "</header>",
        *_advice(advice),
        *(f'<p class="note">{escape(each)}</p>' for each in remarks(report)),
        *_chart(report),
        _table(
            "Figures",
            explanation(report),
            HEADINGS,
            [[_cell(*cell) for cell in cells(row)] for row in report.rows],
        ),
        *_selective(report),
        *_facts(report),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        '<meta name="generator" content="warpguard evaluate">\n'
        f"<title>What the defence costs</title>\n<style>\n{styles}</style>\n</head>\n"
        "<body>\n<main>\n" + "\n".join(parts) + "\n</main>\n</body>\n</html>\n"
    )


def _advice(advice: Recommendation) -> Iterable[str]:
    kind = "none" if advice.row is None else "found"
    yield f'<section class="card advice {kind}"><p class="headline">{escape(advice.sentence)}</p>'
    if advice.flags:
        yield f"<pre>warpguard serve {escape(advice.flags)}</pre>"
    yield "</section>"


def _chart(report: Report) -> Iterable[str]:
    """Return a dot with its interval for each row, and a line at the accuracy of no defence."""
    begin = floor(100 * min(row.top1.low for row in report.rows) / _STEP) * _STEP / 100
    bare = _place(report.row(NONE).top1.share, begin)
    yield '<section class="card"><h2 id="chart">Top-1 accuracy with its 95 % interval</h2>'
    yield '<div class="chart" role="list" aria-labelledby="chart">'
    for row in report.rows:
        top1 = row.top1
        low, high = _place(top1.low, begin), _place(top1.high, begin)
        text, interval = figures.rate(top1)
        draws = f"{row.draws} draw{'s' if row.draws > 1 else ''}" if row.drawn else ""
        yield (
            f'<div class="row {row.kind}" role="listitem"><div class="name">{escape(row.name)}'
            f" <small>{draws}</small></div>"
            f'<div class="track" aria-hidden="true"><i class="bare" style="left:{bare:.2f}%"></i>'
            f'<i class="whisker" style="left:{low:.2f}%;width:{high - low:.2f}%"></i>'
            f'<i class="dot" style="left:{_place(top1.share, begin):.2f}%"></i></div>'
            f'<div class="figure">{text} <small>{interval}</small></div></div>'
        )
    yield (
        '<div class="row axis" aria-hidden="true"><div class="name"></div>'
        f'<div class="track"><span>{100 * begin:.0f} %</span><span>100 %</span></div>'
        '<div class="figure"></div></div></div>'
        '<p class="soft">The dashed line is the accuracy without a defence.</p></section>'
    )


def _place(share: float, begin: float) -> float:
    """Return where a share is on an axis from ``begin`` to 1, in percent of its length."""
    return 100 * (share - begin) / (1 - begin)


def _selective(report: Report) -> Iterable[str]:
    if rows := selective_rows(report):
        yield _table(
            "Answers whose draws agree",
            SELECTIVE,
            ("", "draws", *selective_headings(rows)),
            [
                [
                    _cell(row.name),
                    _cell(str(row.draws)),
                    *(_cell(selective(s)) for s in row.selective),
                ]
                for row in rows
            ],
        )


def _facts(report: Report) -> Iterable[str]:
    facts = {
        "model": f"{report.model} on {report.provider}",
        "endpoint": report.endpoint or "",
        "draws": "the endpoint's own" if report.seed is None else f"seed {report.seed}",
        "order of preference": ", ".join(each for each in report.preference if each != NONE),
        "to be kept": f"{100 * report.keep:g} % of the accuracy without a defence",
        "intervals": "Wilson's for shares, and those of Newcombe (1998), method 10, for "
        "differences of shares of the same images",
        "corruptions": "Gaussian noise of the least severity of ImageNet-C, and stripes of one "
        "pixel, both at the model's input size and without a defence",
    }
    if not any(row.kind == "corruption" for row in report.rows):
        del facts["corruptions"]
    yield "<section><h2>How it was measured</h2><dl>"
    yield from (
        f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in facts.items() if text
    )
    yield "</dl></section>"


def _table(title: str, meaning: str, headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(each)}</th>' for each in headings)
    body = "\n".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{each}</td>" for each in others)}</tr>'
        for first, *others in rows
    )
    return (
        f'<section>\n<h2>{title}</h2>\n<p class="soft">{escape(meaning)}</p>\n'
        f'<div class="wide" tabindex="0" role="region" aria-label="{title}">\n'
        f"<table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody>\n</table>\n"
        "</div>\n</section>"
    )


def _cell(text: str, note: str = "") -> str:
    return escape(text) + (f"<small>{escape(note)}</small>" if note else "")
