"""What the commands do. Each returns an exit code."""

import argparse
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from harness import quick as quickly
from harness import report as reporting
from harness.attacks import ATTACKS, parse_attack
from harness.endpoint import HttpTarget
from harness.files import write_atomically
from harness.laboratory import Laboratory
from harness.options import Options
from harness.results import Run
from harness.run import Advanced, execute

_out = Console()
_err = Console(stderr=True)


def quick(options: argparse.Namespace) -> int:
    """The verdict in a few minutes."""
    runs = []
    listed = quickly.attacks()
    with _target(options) as target, _progress() as bar:
        laboratory = _laboratory(options, target)
        for number, (attack, how) in enumerate(listed, 1):
            setup = laboratory.setup(attack, options.out / attack.name, how)
            runs.append(execute(setup, bar(f"{number}/{len(listed)} {attack.name}")))
    _out.print(reporting.verdict(runs))
    page = options.out / "report.html"
    write_atomically(page, reporting.html([(run, options.out / run.name) for run in runs]).encode())
    _out.print(f"The report: {page}", highlight=False)
    return 0


def run(options: argparse.Namespace) -> int:
    """One attack."""
    attack = parse_attack(options.attack)
    how = Options(
        seed=options.seed,
        scoring_draws=options.scoring_draws,
        score_rounds=options.score_rounds,
        images_at_once=options.images_at_once,
        quantized=not options.unquantized,
        sanity_images=options.sanity_images,
    )
    with _target(options) as target, _progress() as bar:
        laboratory = _laboratory(options, target)
        done = execute(laboratory.setup(attack, options.out, how), bar(attack.name))
    _out.print(reporting.verdict([done]))
    return 0


def report(options: argparse.Namespace) -> int:
    """A page, tables and plots of runs that were done."""
    runs = [(Run.read(path), path if path.is_dir() else path.parent) for path in options.runs]
    only_runs = [each for each, _ in runs]
    write_atomically(options.out, reporting.html(runs).encode())
    if options.markdown:
        write_atomically(options.markdown, reporting.markdown(only_runs).encode())
    if options.plots:
        for name, png in reporting.plots(only_runs).items():
            write_atomically(options.plots / name, png)
    _out.print(reporting.verdict(only_runs))
    _out.print(f"The report: {options.out}", highlight=False)
    return 0


def attacks(options: argparse.Namespace) -> int:
    """What there is."""
    del options
    table = Table("attack", "what it does", "parameters and their defaults", show_lines=True)
    for name, kind in ATTACKS.items():
        parameters = [f"{f.name}={_written(f.default)}" for f in fields(kind)]
        table.add_row(name, f"{kind.summary}\n[dim]{kind.reference}[/]", ", ".join(parameters))
    _out.print(table)
    return 0


def _written(value: object) -> str:
    return "/".join(map(str, value)) if isinstance(value, tuple) else str(value)


def _target(options: argparse.Namespace) -> HttpTarget:
    return HttpTarget(
        options.endpoint,
        defense=options.defense,
        protocol=options.protocol,
        api_key=options.api_key,
    )


def _laboratory(options: argparse.Namespace, target: HttpTarget) -> Laboratory:
    return Laboratory.open(
        target,
        data=options.data,
        limit=options.limit,
        device=options.device,
        source_model=getattr(options, "source_model", None),
    )


@contextmanager
def _progress() -> "Iterator[_Bars]":
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_err, transient=True) as progress:
        yield _Bars(progress)


class _Bars:
    """A bar for each attack and for its checks."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress

    def __call__(self, name: str) -> Advanced:
        tasks = {}

        def advanced(what: str, done: int, total: int) -> None:
            if what not in tasks:
                tasks[what] = self._progress.add_task(f"{name}: {what}")
            self._progress.update(tasks[what], completed=done, total=total)

        return advanced
