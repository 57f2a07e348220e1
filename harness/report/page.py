"""Runs as one self-contained page: ``page.html``, filled."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from jinja2 import Environment, StrictUndefined

from harness.report import figures, tables
from harness.report.groups import MARKS, Entry, Group, grouped, plain, value
from harness.report.image_grid import AMPLIFIED, ImageGrid, data_uri, image_grids
from harness.results import ADVERSARIAL, Check, Run

_MOST_GRIDS = 24
_GRIDS_OF_A_RUN = 4


@dataclass(frozen=True)
class Plot:
    """One plot on a light ground and on a dark one."""

    alt: str
    light: str
    dark: str


@dataclass(frozen=True)
class Section:
    """What the page says of one group."""

    group: Group
    plots: tuple[Plot, ...]
    tables: tuple[tables.Table, ...]
    image_grids: tuple[tuple[Entry, list[ImageGrid]], ...]


def html(runs: Sequence[tuple[Run, Path | None]]) -> str:
    """One page with everything: it loads nothing, runs no script, and can be printed.

    Args:
        runs: each with its folder, where that is at hand; its images make the strip.

    Raises:
        RunError: there is no run, one has not what a report needs, or an image cannot be read.
    """
    groups = grouped([run for run, _ in runs])
    folders = [folder for _, folder in runs]
    with_images = sum(folder is not None and (folder / ADVERSARIAL).is_dir() for folder in folders)
    at_most = max(1, min(_GRIDS_OF_A_RUN, _MOST_GRIDS // max(1, with_images)))
    entries = [entry for group in groups for entry in group.entries]
    template = files("harness.report").joinpath("page.html").read_text("utf-8")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.from_string(template).render(
        sections=[_section(group, folders, at_most) for group in groups],
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


def _section(group: Group, folders: Sequence[Path | None], at_most: int) -> Section:
    found = [(e, image_grids(e.run, folders[e.number - 1], at_most)) for e in group.entries]
    return Section(
        group,
        tuple(_plot(group, measure) for measure in figures.MEASURES),
        (tables.worst(group), tables.results(group)),
        tuple((entry, pictures) for entry, pictures in found if pictures),
    )


def _plot(group: Group, measure: figures.Measure) -> Plot:
    light, dark = (
        data_uri(figures.png(figures.figure(group, measure, theme)))
        for theme in (figures.LIGHT, figures.DARK)
    )
    return Plot(figures.describe(group, measure), light, dark)


def _check_of(entry: Entry, name: str) -> Check | None:
    return next((check for check in entry.run.checks if check.name == name), None)


def _word(check: Check | None) -> str:
    if check is None:
        return "not done"
    return {None: "not done", True: "passed", False: "failed"}[check.passed]


def _facts(entry: Entry) -> list[tuple[str, str]]:
    """Everything else that a run's file says of how it was done."""
    run = entry.run
    hits = [
        image.first_success_round for image in run.images if image.first_success_round is not None
    ]
    facts = {
        "attack": f"{run.attack.name}: {run.attack.summary} ({run.attack.reference})",
        "goal": "the target class of each image" if run.attack.targeted else "any wrong class",
        "parameters": ", ".join(f"{k} = {value(v)}" for k, v in run.attack.parameters.items()),
        "endpoint": f"{run.endpoint.url}, {run.endpoint.protocol}, {tables.posted(run)} images",
        "model": f"{run.endpoint.model}, SHA-256 {run.endpoint.model_sha256 or 'unknown'}",
        "surrogate": ", ".join(f"{k} {v}" for k, v in (run.surrogate or {}).items()) or "none",
        "photographs": f"{run.dataset.name}: the first {run.dataset.selected} of "
        f"{run.dataset.candidates} that the bare model gets right",
        "scoring": f"{run.scoring_draws} fresh draws of each scored iterate",
        "first hits": f"{len(hits)} of {len(run.images)} images were hit in the attack's own loop"
        if hits
        else "",
        "gradients": f"{sum(image.zero_gradients for image in run.images)} rounds with a zero "
        f"gradient, {sum(image.nonfinite_gradients for image in run.images)} with one not finite",
        "seed": str(run.seed),
        "finished": f"{run.created}, after {tables.number(run.seconds)} s",
        "versions": ", ".join(f"{k} {v}" for k, v in run.versions.items()),
    }
    return [(name, plain(said)) for name, said in facts.items() if said]
