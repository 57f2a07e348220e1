"""From the names of items to their figures: a server, the photographs, and the attacks."""

import hashlib
import re
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path

from harness.dataset import Dataset
from harness.endpoint import HttpTarget
from harness.errors import DatasetError, RunError
from harness.files import locked
from harness.reproduce.items import BANK, ITEMS
from harness.reproduce.outcome import Reproduction
from harness.reproduce.reproducer import BARE, Reproducer
from harness.reproduce.scale import SCALES
from harness.results import DatasetRecord
from harness.runs.experiment import Experiment
from harness.runs.plan import versions
from harness.server import WARPGUARD, Server, environment
from harness.types import OnProgress

_PATIENCE_MS = 600_000
"""The server's deadline. The machine may be busy with other work for hours."""


def reproduce(
    names: Sequence[str],
    scale: str,
    folder: Path,
    on_progress: Callable[[str], OnProgress],
    *,
    data: Path | None = None,
    model: str = "auto",
    device: str = "auto",
) -> Generator[Reproduction]:
    """Reproduce items of the paper one after the other. Each is written when it is finished.

    Args:
        names: keys of :data:`ITEMS`.
        scale: a key of :data:`SCALES`.
        folder: for the runs and the results; the same call resumes what was interrupted.
        on_progress: returns the progress bar of a run, given the run's name.
        data: a folder with a ``labels.csv``; by default the photographs of the demonstration.
        model: its name in the store.
        device: of the gradients.

    Raises:
        HarnessError: see :mod:`harness.errors`. Finished work is kept.
    """
    size = SCALES[scale]
    specifications = list(dict.fromkeys(d for name in names for d in ITEMS[name].defenses.values()))
    bank = folder
    if any(BANK in each for each in specifications):
        bank = make_bank(folder, data)
    allowed = dict.fromkeys([BARE, *(_with(bank, each) for each in specifications)])
    options = ["--model", model, "--log-level", "error", "--log-format", "text"]
    options += ["--deadline-ms", str(_PATIENCE_MS)]
    options += [word for each in allowed for word in ("--allow-defense", each)]
    with locked(folder), Server(*options, log=folder / "server.log") as server:
        with HttpTarget(server.url, defense=BARE) as target:
            whole = Experiment.open(target, data=data, limit=size.photographs, device=device)
            whole = whole.with_dataset(_parts(whole.dataset)[0], size.photographs)
        for name in names:
            item = ITEMS[name]
            started = time.monotonic()
            experiment = (
                whole.with_dataset(whole.dataset, size.attacked) if item.by_round else whole
            )
            reproducer = Reproducer(server.url, experiment, size, folder / "runs", on_progress)
            defenses = {key: _with(bank, each) for key, each in item.defenses.items()}
            figures = item.measure(reproducer, defenses)
            done = Reproduction(
                item=name,
                title=item.title,
                scale=(scale, asdict(size)),
                model=experiment.manifest.name,
                model_sha256=experiment.manifest.sha256,
                dataset=DatasetRecord(
                    name=experiment.dataset.name,
                    candidates=len(experiment.dataset.photographs),
                    selected=len(reproducer.cases),
                ),
                created=datetime.now(UTC).isoformat(timespec="seconds"),
                last_call_seconds=round(time.monotonic() - started, 1),
                versions=versions(),
                notes=item.notes,
                figures=tuple(figures),
                runs=tuple(reproducer.runs),
            )
            done.write(folder)
            yield done


def _with(bank: Path, specification: str) -> str:
    return specification.replace(BANK, str(bank))


def _parts(dataset: Dataset) -> tuple[Dataset, Dataset]:
    """Split off the last quarter: the bank is made of it, and the rest may be attacked."""
    count = len(dataset.photographs)
    if count < 2:
        raise DatasetError(f"{dataset.name} has {count} photograph; reproduce needs at least two.")
    bound = count - max(1, count // 4)
    return (
        replace(dataset, photographs=dataset.photographs[:bound]),
        replace(dataset, photographs=dataset.photographs[bound:]),
    )


def make_bank(folder: Path, data: Path | None) -> Path:
    """Make quilt's bank with ``warpguard quilt-bank``, unless it exists, and return its path.

    The name of the file depends on the photographs.

    Raises:
        DatasetError: the photographs cannot be read.
        RunError: the folder's name cannot be part of a defence's specification.
    """
    _, others = _parts(Dataset.demo() if data is None else Dataset.read(data, sys.maxsize))
    digest = hashlib.sha256()
    for each in others.photographs:
        digest.update(each.path.read_bytes())
    bank = folder / f"quilt-bank-{digest.hexdigest()[:12]}.npz"
    if re.search(r"[^!-~]|[,()]", str(bank)):
        raise RunError(
            f"{folder} cannot be used: the specification of quilt contains the bank's path, which "
            "cannot have spaces, commas, brackets or letters outside ASCII. Choose another --out."
        )
    if not bank.exists():
        bank.parent.mkdir(parents=True, exist_ok=True)
        files = [str(each.path) for each in others.photographs]
        made = subprocess.run(  # noqa: S603  # our own command
            [*WARPGUARD, "quilt-bank", *files, "-o", str(bank)],
            capture_output=True,
            text=True,
            check=False,
            env=environment(),
        )
        if made.returncode:
            raise DatasetError(f"warpguard quilt-bank failed: {made.stderr.strip()}")
    return bank
