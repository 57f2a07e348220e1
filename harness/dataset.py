"""Photographs with their true classes, and the target class that an attacker wants for each."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from harness.budget import as_pixels
from harness.errors import DatasetError
from harness.types import Case
from models import Manifest, fit
from service.errors import ServiceError
from service.evaluate.labels import TABLE, DataError, Row, class_index, count_from_1, read_table
from service.images.decode import decode

_IMAGENET_CLASSES = 1000
_MAX_PIXELS = 10**9
"""The largest limit that the service can have: these files are the user's own."""


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

    @property
    def sha256(self) -> str:
        """The SHA-256 of the table: the names, classes and targets in their order."""
        rows = [(each.file, each.label, each.target) for each in self.photographs]
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @classmethod
    def read(cls, folder: Path, classes: int) -> "Dataset":
        """Read a folder with a ``labels.csv`` of the columns ``file``, ``label``, maybe ``target``.

        Classes are indices from 0. A photograph without a target gets a random one, which is the
        same in every run. Each photograph has one row.

        Raises:
            DatasetError: a file or a column is missing, a row is too short, too long or there
                already, or a value is not valid. The message has the number of the line.
        """
        try:
            rows = read_table(folder, lambda text: class_index(text, classes))
        except DataError as error:
            raise DatasetError(str(error)) from None
        photographs: list[Photograph] = []
        for row in rows:
            try:
                photographs.append(_photograph(row, classes))
            except ValueError as error:
                raise DatasetError(f"{folder / TABLE}, line {row.line}: {error}.") from None
        return cls(folder.resolve().name, tuple(photographs))

    @classmethod
    def demo(cls, classes: int = _IMAGENET_CLASSES) -> "Dataset":
        """Return the twenty labelled ImageNet photographs of the package foolbox.

        Raises:
            DatasetError: the package is not installed, or the model has other classes.
        """
        if classes != _IMAGENET_CLASSES:
            raise DatasetError(
                f"The photographs of the demonstration have labels of ImageNet's "
                f"{_IMAGENET_CLASSES} classes, but the model has {classes} classes. Name a folder "
                "of your own photographs with --data."
            )
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
        known: frozenset[str] = frozenset(),
    ) -> list[Case]:
        """Return the first photographs that the bare model gets right, at the model's size.

        They are decoded as the service decodes them: upright, on white, with 8 bits.

        Args:
            manifest: the model's manifest.
            classify: the bare model, from images to classes.
            limit: how many photographs to return; None for all.
            targeted: whether the attacker wants the photograph's target, or any wrong class.
            known: the names of the photographs that were found right before, if any were. They are
                taken as right, and all others as wrong.

        Raises:
            DatasetError: a photograph cannot be read, the model gets none of them right, or most
                labels are one too high.
        """
        chosen: list[Case] = []
        seen = one_too_high = 0
        for each in self.photographs:
            if limit is not None and len(chosen) == limit:
                break
            if known and each.file not in known:
                continue
            image = np.ascontiguousarray(fit(_pixels(each.path, manifest), manifest), np.uint8)
            answer = each.label if known else int(classify([image])[0])
            seen += 1
            one_too_high += answer == each.label - 1
            if answer == each.label:
                target = each.target if targeted else None
                chosen.append(Case(each.file, as_pixels(image), each.label, target))
        right = f"The model gets {len(chosen)} of {seen} photographs of {self.name} right"
        lowest = min(each.label for each in self.photographs)
        if count_from_1(lowest, seen, len(chosen), one_too_high):
            raise DatasetError(
                f"{right}, and for {one_too_high} of them its class is the label minus 1. Classes "
                f"count from 0: subtract 1 from each label and each target in {TABLE}."
            )
        if not chosen:
            raise DatasetError(
                f"{right}. Check the labels: each must be the index of a class in the model's "
                "output, from 0."
            )
        return chosen


def pixels_sha256(case: Case) -> str:
    """Return the SHA-256 of a case's pixels, as 8-bit RGB."""
    return hashlib.sha256(np.rint(case.image * 255).astype(np.uint8).tobytes()).hexdigest()


def _photograph(row: Row, classes: int) -> Photograph:
    """Read a row's target; the message of a ValueError says what is wrong with it."""
    if wanted := row.cells.get("target", "").strip():
        target = class_index(wanted, classes)
    else:
        target = _target(row.file, row.label, classes)
    if target == row.label:
        raise ValueError("the target must not be the label")
    return Photograph(row.path, row.file, row.label, target)


def _pixels(path: Path, manifest: Manifest) -> NDArray[np.uint8]:
    try:
        return decode(path.read_bytes(), max_pixels=_MAX_PIXELS, reduce_to_px=manifest.decode_to_px)
    except OSError as error:
        raise DatasetError(f"{path} cannot be read: {error.strerror}.") from None
    except ServiceError as error:
        raise DatasetError(f"{path} cannot be read: {error}") from None


def _target(file: str, label: int, classes: int) -> int:
    """Draw a class other than the label. It is always the same for one file name."""
    if classes < 2:
        raise ValueError("the model has one class only, so that no answer is wrong")
    drawn = Random(file).randrange(classes - 1)
    return drawn + (drawn >= label)
