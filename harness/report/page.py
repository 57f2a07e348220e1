"""Runs as one self-contained page, made from the template ``page.html``."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.report import controls, figures, tables
from harness.report.bars import PARTS, bars
from harness.report.glossary import GLOSSARY, term_of
from harness.report.groups import MARKS, Entry, Group, grouped, plain, value
from harness.report.image_grid import AMPLIFIED, ImageGrid, data_uri, image_grids
from harness.report.styles import DARK, LIGHT
from harness.report.templates import rendered
from harness.report.verdict import Verdict, verdicts
from harness.results import ADVERSARIAL, Check, Run

_MOST_GRIDS = 24
_GRIDS_OF_A_RUN = 4


@dataclass(frozen=True)
class Plot:
    """One plot for a light background and for a dark one."""

    alt: str
    light: str
    dark: str


@dataclass(frozen=True)
class Section:
    """The page's section about one group."""

    group: Group
    plots: tuple[Plot, ...]
    tables: tuple[tables.Table, ...]


def html(runs: Sequence[tuple[Run, Path | None]], notes: Sequence[str] = ()) -> str:
    """Return a page that contains everything: it loads no file, runs no script, and prints well.

    Args:
        runs: each with its folder, which has the images of the grids, or None.
        notes: further sentences, such as why runs are missing.

    Raises:
        RunError: there are no runs, a run lacks something, or an image cannot be read.
    """
    groups = grouped([run for run, _ in runs])
    folders = [folder for _, folder in runs]
    with_images = sum(folder is not None and (folder / ADVERSARIAL).is_dir() for folder in folders)
    at_most = max(1, min(_GRIDS_OF_A_RUN, _MOST_GRIDS // max(1, with_images)))
    entries = [entry for group in groups for entry in group.entries]
    opinions = verdicts(groups)
    return rendered(
        "page.html",
        verdicts=opinions,
        notes=[plain(note) for note in notes],
        bars=bars,
        parts=PARTS,
        light=LIGHT,
        dark=DARK,
        with_grids=_grids(opinions, folders, at_most),
        glossary=GLOSSARY,
        term_of=term_of,
        sections=[_section(group) for group in groups],
        entries=entries,
        failed=[entry for entry in entries if entry.state == "failed"],
        unchecked=[entry for entry in entries if entry.state == "unchecked"],
        check_names=list(dict.fromkeys(c.name for entry in entries for c in entry.run.checks)),
        check_of=_check_of,
        word=_word,
        marks=MARKS,
        facts=_facts,
        amplified=AMPLIFIED,
        finished=max(plain(entry.run.created) for entry in entries),
    )


def _grids(
    opinions: Sequence[Verdict], folders: Sequence[Path | None], at_most: int
) -> list[tuple[Entry, list[ImageGrid]]]:
    """Return the photographs of each run that has some, in the order of the bars."""
    ordered = [bar.entry for verdict in opinions for bar in bars(verdict) if bar.entry]
    found = [(e, image_grids(e.run, folders[e.number - 1], at_most)) for e in ordered]
    return [(entry, grids) for entry, grids in found if grids]


def _section(group: Group) -> Section:
    return Section(
        group,
        tuple(_plot(group, measure) for measure in figures.MEASURES),
        (tables.worst(group), tables.results(group)),
    )


def _plot(group: Group, measure: figures.Measure) -> Plot:
    light, dark = (
        data_uri(figures.drawn_as(figures.figure(group, measure, theme), "png"))
        for theme in (LIGHT, DARK)
    )
    return Plot(figures.describe(group, measure), light, dark)


def _check_of(entry: Entry, name: str) -> Check | None:
    return next((check for check in entry.run.checks if check.name == name), None)


def _word(check: Check | None) -> str:
    if check is None or check.passed is None:
        wrong = check.measured.get("wrong") if check and check.name == controls.NAME else None
        return "not done" if wrong is None else f"{tables.percent(wrong)} wrong"
    return "met" if check.passed else "not met"


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """Return the facts of a run's file that the tables do not show."""
    run = entry.run
    successes = [each for each in run.images if each.first_success_round is not None]
    facts = {
        "attack": f"{run.attack.name}: {run.attack.summary} ({run.attack.reference})",
        "goal": "the target class of each image" if run.attack.targeted else "any wrong class",
        "parameters": ", ".join(f"{k} = {value(v)}" for k, v in run.attack.parameters.items()),
        "endpoint": f"{run.endpoint.url}, {run.endpoint.protocol}, {tables.posted(run)} images",
        "form": run.endpoint.form or "",
        "model": f"{run.endpoint.model}, SHA-256 {run.endpoint.model_sha256 or 'unknown'}",
        "surrogate": ", ".join(f"{k} {v}" for k, v in (run.surrogate or {}).items()) or "none",
        "photographs": f"{run.dataset.name}: the first {run.dataset.selected} of "
        f"{run.dataset.candidates} that were classified correctly before the attack",
        "scoring": f"{run.scoring_draws} fresh draws of each scored iterate",
        "first successes": f"{len(successes)} of {len(run.images)} images, in the attack's own loop"
        if successes
        else "",
        "gradients": f"{sum(image.zero_gradients for image in run.images)} rounds with a zero "
        f"gradient, {sum(i.nonfinite_gradients for i in run.images)} with a non-finite gradient",
        "seed": str(run.seed),
        "finished": f"{run.created}, after {tables.number(run.seconds)} s",
        "versions": ", ".join(f"{k} {v}" for k, v in run.versions.items()),
    }
    return [(name, plain(text)) for name, text in facts.items() if text]
