"""What the commands do. Each returns an exit code."""

import argparse
import shlex
from contextlib import closing

from rich.console import Console
from rich.table import Table

from harness import report as reporting
from harness import reproduce as reproducing
from harness.attacks import ATTACKS, described, parse_attack
from harness.cli import quick as quickly
from harness.cli.progress import progress
from harness.endpoint import HttpTarget
from harness.results import Run, run_folders
from harness.runs.experiment import Experiment
from harness.runs.options import Options, require_use
from harness.runs.run import execute
from models import write_atomically

_out = Console()
_err = Console(stderr=True)


def quick(options: argparse.Namespace) -> int:
    """The verdict in a few minutes."""
    runs = []
    listed = quickly.attacks()
    with _target(options) as target, progress(_err) as bar:
        experiment = _experiment(options, target)
        for number, (attack, how) in enumerate(listed, 1):
            setup = experiment.setup(attack, options.out / attack.name, how)
            runs.append(execute(setup, bar(f"{number}/{len(listed)} {attack.name}")))
    _out.print(reporting.verdict(runs))
    page = options.out / "report.html"
    write_atomically(page, reporting.html([(run, options.out / run.name) for run in runs]).encode())
    _say(f"The report: {page}")
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
    require_use(attack, how, options.source_model)
    with _target(options) as target, progress(_err) as bar:
        experiment = _experiment(options, target)
        done = execute(experiment.setup(attack, options.out, how), bar(attack.name))
    _out.print(reporting.verdict([done]))
    command = shlex.join(["warpguard-harness", "report", str(options.out)])
    _say(f"The run: {options.out}. A page of it: {command}")
    return 0


def report(options: argparse.Namespace) -> int:
    """A page, tables and plots of runs that were done."""
    # A run counts once, though its folder and the folder that it is in are both named.
    paths = dict.fromkeys(found for path in options.runs for found in run_folders(path))
    runs = [(Run.read(path), path if path.is_dir() else path.parent) for path in paths]
    only_runs = [each for each, _ in runs]
    write_atomically(options.out, reporting.html(runs).encode())
    if options.markdown:
        write_atomically(options.markdown, reporting.markdown(only_runs).encode())
    if options.plots:
        for name, png in reporting.plots(only_runs).items():
            write_atomically(options.plots / name, png)
    _out.print(reporting.verdict(only_runs))
    _say(f"The report: {options.out}")
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Tables of the paper, each shown when it is done."""
    names = list(reproducing.ITEMS if "all" in options.items else dict.fromkeys(options.items))
    folder = options.out / options.scale
    wanted = reproducing.SCALES[options.scale].photographs
    if options.data is None and options.scale != "smoke":
        _err.print(f"The default photographs are twenty, for {wanted} name a folder with --data.")
    with (
        progress(_err) as bar,
        closing(
            reproducing.reproduce(
                names,
                options.scale,
                folder,
                bar,
                data=options.data,
                model=options.model,
                device=options.device,
            )
        ) as results,
    ):
        for done in results:
            if not reproducing.ITEMS[done.item].by_round and done.dataset.selected < wanted:
                _err.print(
                    f"{done.item} has {done.dataset.selected} photographs, not {wanted}: there are "
                    "no more that the model gets right. --data names a folder of others."
                )
            write_atomically(folder / f"{done.item}.md", reproducing.markdown(done).encode())
            for name, png in reproducing.plots(done).items():
                write_atomically(folder / name, png)
            _out.print(reproducing.terminal(done))
    _say(f"The results: {folder}")
    return 0


def attacks(options: argparse.Namespace) -> int:
    """What there is."""
    del options
    table = Table("attack", show_lines=True)
    # Whole lines, also at 80 columns: a value that is cut in two cannot be copied.
    table.add_column("parameters, their defaults first", no_wrap=True)
    for name, kind in ATTACKS.items():
        what = f"[bold]{name}[/]\n{kind.summary}\n[dim]{kind.reference}[/]"
        table.add_row(what, "\n".join(described(kind)))
    _out.print(table)
    return 0


def _say(line: str) -> None:
    """A line as it is: a path in it is not wrapped, so that it can be copied."""
    _out.print(line, highlight=False, markup=False, soft_wrap=True)


def _target(options: argparse.Namespace) -> HttpTarget:
    return HttpTarget(
        options.endpoint,
        defense=options.defense,
        protocol=options.protocol,
        api_key=options.api_key,
    )


def _experiment(options: argparse.Namespace, target: HttpTarget) -> Experiment:
    return Experiment.open(
        target,
        data=options.data,
        limit=options.limit,
        device=options.device,
        source_model=getattr(options, "source_model", None),
    )
