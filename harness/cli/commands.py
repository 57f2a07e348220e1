"""The commands. Each function takes the parsed options and returns an exit code."""

import argparse
import shlex
import ssl
from contextlib import closing
from pathlib import Path

from rich.console import Console
from rich.table import Table

import harness.report
import harness.reproduce
import harness.signals
from harness.attacks import ATTACKS, described, parse_attack
from harness.cli.progress import progress
from harness.cli.quick import left_out, quick_attacks
from harness.endpoint import Connection, HttpTarget, OipTarget, Target
from harness.errors import OptionsError, SurrogateError
from harness.files import locked, write
from harness.report import evidence
from harness.results import Run, run_folders
from harness.runs.experiment import Experiment
from harness.runs.models import from_files
from harness.runs.options import Options, require_use
from harness.runs.run import execute
from models import Manifest, ModelError

_out = Console()
_err = Console(stderr=True)


def quick(options: argparse.Namespace) -> int:
    """Run a few attacks, and print a verdict."""
    runs, notes = [], []
    attacks = quick_attacks()
    with _target(options) as target, locked(options.out), progress(_err) as bar:
        try:
            experiment = _experiment(options, target)
        except SurrogateError as error:
            # If it is not the gradients that fail, the second attempt raises the error again.
            experiment = _experiment(options, target, needs_gradients=False)
            notes.append(left_out([attack for attack, _ in attacks], error))
            attacks = [each for each in attacks if not each[0].needs_gradients]
        for number, (attack, how) in enumerate(attacks, 1):
            setup = experiment.setup(attack, options.out / attack.name, how)
            runs.append(execute(setup, bar(f"{number}/{len(attacks)} {attack.name}")))
    _out.print(harness.report.terminal(runs))
    for note in notes:
        _print_line(note)
    page = harness.report.html([(run, options.out / run.name) for run in runs], notes)
    write(options.out / "report.html", page.encode())
    _print_line(f"The report: {options.out / 'report.html'}")
    return 0


def run(options: argparse.Namespace) -> int:
    """Run one attack."""
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
        experiment = _experiment(options, target, attack.needs_gradients)
        done = execute(experiment.setup(attack, options.out, how), bar(attack.name))
    _out.print(harness.report.terminal([done]))
    command = shlex.join(["warpguard-harness", "report", str(options.out)])
    _print_line(f"The run: {options.out}. To make a page of it: {command}")
    return 0


def report(options: argparse.Namespace) -> int:
    """Write a page, tables and plots of finished runs."""
    # A run counts once, even if both its folder and the folder around it are named.
    paths = dict.fromkeys(found for path in options.runs for found in run_folders(path))
    read = [Run.read_with_digest(path) for path in paths]
    only_runs = [each for each, _ in read]
    folders = [path if path.is_dir() else path.parent for path in paths]
    runs = list(zip(only_runs, folders, strict=True))
    dossier = evidence.build(read) if options.evidence else None
    write(options.out, harness.report.html(runs).encode())
    if options.markdown:
        write(options.markdown, harness.report.markdown(only_runs).encode())
    if options.plots:
        for name, content in harness.report.plots(only_runs).items():
            write(options.plots / name, content)
    _out.print(harness.report.terminal(only_runs))
    _print_line(f"The report: {options.out}")
    if dossier:
        for name, text in evidence.files(dossier).items():
            write(options.evidence / name, text.encode())
        _print_line(f"The dossier: {options.evidence / evidence.HTML_FILE}")
    return 0


def reproduce(options: argparse.Namespace) -> int:
    """Reproduce tables of the paper, and print each one when it is finished."""
    items = harness.reproduce.ITEMS
    names = list(items if "all" in options.items else dict.fromkeys(options.items))
    folder = options.out / options.scale
    wanted = harness.reproduce.SCALES[options.scale].photographs
    if options.data is None and options.scale != "smoke":
        _err.print(f"The default photographs are fewer than {wanted}: name a folder with --data.")
    with (
        progress(_err) as bar,
        closing(
            harness.reproduce.reproduce(
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
            if not items[done.item].by_round and done.dataset.selected < wanted:
                _err.print(
                    f"{done.item} has {done.dataset.selected} photographs instead of {wanted}: the "
                    "model gets no more of them right. Name a larger folder with --data."
                )
            write(folder / f"{done.item}.md", harness.reproduce.markdown(done).encode())
            for name, content in harness.reproduce.plots(done).items():
                write(folder / name, content)
            _out.print(harness.reproduce.terminal(done))
    _print_line(f"The results: {folder}")
    return 0


def signals(options: argparse.Namespace) -> int:
    """Measure what the signals see, and print it."""
    kinds = harness.signals.KINDS
    names = list(kinds) if options.traffic is None else options.traffic.split(",")
    if unknown := [name for name in names if name not in kinds]:
        raise OptionsError(f"Unknown traffic {unknown[0]!r}. Kinds: {', '.join(kinds)}.")
    served = _served(options)
    with progress(_err) as bar:
        done = harness.signals.measure(
            list(dict.fromkeys(names)),
            options.out,
            bar,
            data=options.data,
            limit=options.limit,
            posts=options.posts,
            seed=options.seed,
            model=options.model,
            device=options.device,
            served=served,
        )
    write(options.out / "signals.md", harness.signals.markdown(done).encode())
    _out.print(harness.signals.terminal(done))
    _print_line(f"The results: {options.out}")
    return 0


def _served(options: argparse.Namespace) -> harness.signals.Served | None:
    """Return the server that is to be measured; None for one that is started."""
    given = options.endpoint, options.admin, options.api_key_file
    if given == (None, None, None):
        return None
    if None in given or options.model != "auto":
        raise OptionsError(
            "--endpoint, --admin and --api-key-file need each other, and exclude --model: give all "
            "three to measure a server that runs already, or none of them."
        )
    keys = _read_keys(options.api_key_file)
    return harness.signals.Served(options.endpoint, options.admin, keys)


def attacks(options: argparse.Namespace) -> int:
    """List the attacks and their parameters."""
    del options
    table = Table("attack", show_lines=True)
    # No value is wrapped, also at 80 columns, so that it can be copied.
    table.add_column("parameters, the default first", no_wrap=True)
    for name, kind in ATTACKS.items():
        what = f"[bold]{name}[/]\n{kind.summary}\n[dim]{kind.reference}[/]"
        table.add_row(what, "\n".join(described(kind)))
    _out.print(table)
    for problem in ATTACKS.broken:
        _err.print(problem, highlight=False, markup=False, soft_wrap=True)
    return 0


def _print_line(line: str) -> None:
    """Print a line without wrapping it, so that a path in it can be copied."""
    _out.print(line, highlight=False, markup=False, soft_wrap=True)


def _target(options: argparse.Namespace) -> Target:
    _require_protocol(options)
    connection: Connection = {
        "api_key": _api_key(options),
        "headers": options.header,
        "certificates": None if options.ca_file is None else _certificates(options.ca_file),
    }
    if options.protocol != "oip":
        return HttpTarget(
            options.endpoint, defense=options.defense, protocol=options.protocol, **connection
        )
    target = OipTarget(
        options.endpoint,
        manifest=_manifest(options),
        defense=options.assume_defense,
        **connection,
    )
    _err.print(
        f"The defence {target.description.defense} is assumed. {target.url} reports no digest of "
        "its model, so the model is watched by its name, versions, inputs and outputs only.",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )
    return target


def _require_protocol(options: argparse.Namespace) -> None:
    """Require that the protocol uses all options, because an ignored one would mislead."""
    of_oip = {
        "--assume-defense": options.assume_defense,
        "--manifest": options.manifest,
        "--model": options.model,
    }
    given = [name for name, value in of_oip.items() if value is not None]
    if options.protocol != "oip" and given:
        raise OptionsError(
            f"{given[0]} is for --protocol oip only, because warpguard describes its defence and "
            "its model itself. Leave it out, or add --protocol oip."
        )
    if options.protocol == "oip" and options.defense is not None:
        raise OptionsError(
            "--defense chooses one of the defences that warpguard allows, and --protocol oip "
            "cannot choose one. Name the defence in front of the model with --assume-defense."
        )
    if options.model is not None and options.manifest is None:
        raise OptionsError(
            "--model needs --manifest, a file that describes the model's input, output and "
            "scaling as in docs/models.md."
        )


def _manifest(options: argparse.Namespace) -> Manifest | None:
    try:
        return None if options.manifest is None else Manifest.read(options.manifest)
    except ModelError as error:
        raise OptionsError(f"--manifest: {error}.") from None


def _api_key(options: argparse.Namespace) -> str | None:
    if options.api_key_file is None:
        key: str | None = options.api_key
        return key
    keys = _read_keys(options.api_key_file)
    if len(keys) != 1:
        raise OptionsError(f"--api-key-file {options.api_key_file} must have the key alone.")
    return keys[0]


def _read_keys(file: Path) -> list[str]:
    try:
        return file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise OptionsError(f"--api-key-file: {error}.") from None


def _certificates(file: Path) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=file)
    except OSError as error:
        raise OptionsError(
            f"--ca-file {file} cannot be read: {error}. It must hold certificates in PEM."
        ) from None


def _experiment(
    options: argparse.Namespace, target: Target, needs_gradients: bool = True
) -> Experiment:
    manifest, own = _manifest(options), None
    if manifest is not None and options.model is not None:
        own = from_files(options.model, manifest)
    return Experiment.open(
        target,
        data=options.data,
        limit=options.limit,
        device=options.device,
        source_model=getattr(options, "source_model", None),
        needs_gradients=needs_gradients,
        own_copy=own,
    )
