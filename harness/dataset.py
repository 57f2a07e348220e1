"""Photographs with their true classes, and the class that an attacker wants of each."""

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
    """One row of a dataset."""

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
        """Read a folder with a ``labels.csv``: columns ``file``, ``label`` and maybe ``target``.

        Classes are indices from 0. Without a target each photograph gets one at random, the same
        one every time.

        Raises:
            DatasetError: a file or a column is missing, or a value is not allowed.
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
                raise DatasetError(f"{table}, line {number}: the target is the label itself.")
            if not (folder / name).is_file():
                raise DatasetError(f"{table}, line {number}: there is no {folder / name}.")
            photographs.append(Photograph(folder / name, name, label, wanted))
        if not photographs:
            raise DatasetError(f"{table} names no photograph.")
        return cls(folder.name, tuple(photographs))

    @classmethod
    def demo(cls, classes: int = 1000) -> "Dataset":
        """The twenty labelled ImageNet photographs that the package foolbox ships.

        Raises:
            DatasetError: the package is not installed.
        """
        spec = find_spec("foolbox")
        if spec is None or spec.origin is None:
            raise DatasetError("The photographs come with the extra: pip install '.[harness]'.")
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
        right: Callable[[Sequence[NDArray[np.uint8]]], NDArray[np.intp]],
        limit: int | None,
        *,
        targeted: bool = True,
    ) -> list[Case]:
        """The first photographs whose class the bare model gets right, at the model's size.

        Args:
            manifest: the model's.
            right: the bare model: images to classes.
            limit: how many; None takes all of them.
            targeted: whether the attacker wants the photograph's target, or any wrong class.

        Raises:
            DatasetError: a photograph cannot be read, or none is classified rightly.
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
            if int(right([image])[0]) == each.label:
                target = each.target if targeted else None
                chosen.append(Case(each.file, as_pixels(image), each.label, target))
        if not chosen:
            raise DatasetError(f"The model gets none of the photographs of {self.name} right.")
        return chosen


def pixels_sha256(case: Case) -> str:
    """Of a case's pixels, as 8-bit RGB."""
    return hashlib.sha256(np.rint(case.image * 255).astype(np.uint8).tobytes()).hexdigest()


def _class(text: str, classes: int) -> int:
    number = int(text) if text.strip().isdecimal() else -1
    if not 0 <= number < classes:
        raise ValueError(f"{text!r} is no class from 0 to {classes - 1}")
    return number


def _target(file: str, label: int, classes: int) -> int:
    """A class other than the label, drawn once and for all for this file."""
    drawn = Random(file).randrange(classes - 1)
    return drawn + (drawn >= label)
