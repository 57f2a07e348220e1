"""Photographs with their true classes, and the target class that an attacker wants for each."""

import csv
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from harness.budget import as_pixels
from harness.errors import DatasetError
from harness.types import Case
from models import Manifest, fit

TABLE = "labels.csv"


@dataclass(frozen=True)
class Photograph:
    """One row of the table: a photograph, its class and its target."""

    path: Path
    file: str
    label: int
    target: int


@dataclass(frozen=True)
class Dataset:
    """Photographs in a fixed order."""

    name: str
    photographs: tuple[Photograph, ...]

    @classmethod
    def read(cls, folder: Path, classes: int) -> "Dataset":
        """Read a folder with a ``labels.csv`` of the columns ``file``, ``label``, maybe ``target``.

        Classes are indices from 0. A photograph without a target gets a random one, which is the
        same in every run.

        Raises:
            DatasetError: a file or a column is missing, or a value is not valid.
        """
        table = folder / TABLE
        try:
            with table.open(newline="", encoding="utf-8-sig") as file:
                rows = list(csv.DictReader(file))
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise DatasetError(f"{table} cannot be read: {error}.") from None
        photographs = []
        for number, row in enumerate(rows, 2):
            try:
                name, label = row["file"], _class(row["label"], classes)
                target = row.get("target")
                wanted = _class(target, classes) if target else _target(name, label, classes)
            except (KeyError, ValueError) as error:
                what = f"no column {error}" if isinstance(error, KeyError) else str(error)
                raise DatasetError(f"{table}, line {number}: {what}.") from None
            if wanted == label:
                raise DatasetError(f"{table}, line {number}: the target must not be the label.")
            if not (folder / name).is_file():
                raise DatasetError(f"{table}, line {number}: {folder / name} does not exist.")
            photographs.append(Photograph(folder / name, name, label, wanted))
        if not photographs:
            raise DatasetError(f"{table} has no rows. Add a row for each photograph.")
        return cls(folder.name, tuple(photographs))

    @classmethod
    def demo(cls, classes: int = 1000) -> "Dataset":
        """Return the twenty labelled ImageNet photographs of the package foolbox.

        Raises:
            DatasetError: the package is not installed.
        """
        spec = find_spec("foolbox")
        if spec is None or spec.origin is None:
            raise DatasetError("The package foolbox is missing. Run: pip install '.[harness]'")
        files = sorted((Path(spec.origin).parent / "data").glob("imagenet_*_*.jpg"))
        labels = [int(file.stem.rpartition("_")[2]) for file in files]
        return cls(
            "foolbox",
            tuple(
                Photograph(file, file.name, label, _target(file.name, label, classes))
                for file, label in zip(files, labels, strict=True)
            ),
        )

    def cases(
        self,
        manifest: Manifest,
        classify: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.intp]],
        limit: int | None,
        *,
        targeted: bool = True,
    ) -> list[Case]:
        """Return the first photographs that the bare model gets right, at the model's size.

        Args:
            manifest: the model's manifest.
            classify: the bare model, from images to classes.
            limit: how many photographs to return; None for all.
            targeted: whether the attacker wants the photograph's target, or any wrong class.

        Raises:
            DatasetError: a photograph cannot be read, or the model gets none of them right.
        """
        chosen: list[Case] = []
        for each in self.photographs:
            if limit is not None and len(chosen) == limit:
                break
            try:
                with Image.open(each.path) as file:
                    pixels = np.asarray(file.convert("RGB"))
            except (OSError, ValueError) as error:
                raise DatasetError(f"{each.path} cannot be read: {error}.") from None
            image = np.ascontiguousarray(fit(pixels, manifest), np.uint8)
            if int(classify([image])[0]) == each.label:
                target = each.target if targeted else None
                chosen.append(Case(each.file, as_pixels(image), each.label, target))
        if not chosen:
            raise DatasetError(
                f"The model gets none of the photographs of {self.name} right. Check the labels."
            )
        return chosen


def pixels_sha256(case: Case) -> str:
    """Return the SHA-256 of a case's pixels, as 8-bit RGB."""
    return hashlib.sha256(np.rint(case.image * 255).astype(np.uint8).tobytes()).hexdigest()


def _class(text: str, classes: int) -> int:
    number = int(text) if text.strip().isdecimal() else -1
    if not 0 <= number < classes:
        raise ValueError(f"{text!r} is not a class; classes are 0 to {classes - 1}")
    return number


def _target(file: str, label: int, classes: int) -> int:
    """Draw a class other than the label. It is always the same for one file name."""
    drawn = Random(file).randrange(classes - 1)
    return drawn + (drawn >= label)
