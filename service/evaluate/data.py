"""A folder of labelled images: with a ``labels.csv``, or with a folder for each class."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random

from service.evaluate.labels import TABLE, DataError, class_index, read_table
from service.spelling import nearest

_SHOWN = 3
"""How many unknown names a message quotes."""


@dataclass(frozen=True)
class LabelledImage:
    """An image file and its true class, an index from 0."""

    path: Path
    file: str
    label: int


@dataclass(frozen=True)
class Data:
    """Labelled images in the order in which they are measured."""

    name: str
    images: tuple[LabelledImage, ...]
    notes: tuple[str, ...] = ()


def read(folder: Path, classes: int, names: Sequence[str] | None, limit: int | None) -> Data:
    """Read the labels of a folder's images; no image is opened.

    The order is shuffled, and always the same for the same files, so that the first images are of
    all classes and a smaller limit takes a part of what a larger one takes.

    Args:
        folder: has a ``labels.csv``, or a folder for each class, named by its index or label.
        classes: how many classes the model has.
        names: the labels of the model's classes; None if they are not known.
        limit: the most images to take; None for all.

    Raises:
        DataError: the data set has no image, or a class that the model does not have.
    """
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. Name a folder of labelled images with --data.")
    notes: tuple[str, ...] = ()
    if (folder / TABLE).exists():
        rows = read_table(folder, partial(_class_in_table, classes=classes, names=names))
        images = [LabelledImage(row.path, row.file, row.label) for row in rows]
    else:
        images, notes = _from_folders(folder, classes, names)
    images.sort(key=lambda image: image.file)
    Random(0).shuffle(images)  # noqa: S311  # an order that is the same in every run
    return Data(folder.resolve().name, tuple(images[:limit]), notes)


def _class_in_table(text: str, classes: int, names: Sequence[str] | None) -> int:
    """Return the class of a label in a table, in which a number is always an index."""
    if text.strip().isdecimal():
        return class_index(text, classes)
    return _class_named(text, classes, names)


def _from_folders(
    folder: Path, classes: int, names: Sequence[str] | None
) -> tuple[list[LabelledImage], tuple[str, ...]]:
    inside = sorted(each for each in folder.iterdir() if not each.name.startswith("."))
    folders = [each for each in inside if each.is_dir()]
    if not folders:
        raise DataError(
            f"{folder} has neither a {TABLE} nor folders. Give it a {TABLE} with the columns file "
            "and label, or a folder for each class, named by the class's index or label."
        )
    images: list[LabelledImage] = []
    problems: list[str] = []
    for each in folders:
        try:
            label = _class_of_folder(each.name, classes, names)
        except ValueError as error:
            problems.append(str(error))
            continue
        images += [
            LabelledImage(file, str(file.relative_to(folder)), label)
            for file in sorted(each.rglob("*"))
            if file.is_file() and not file.name.startswith(".")
        ]
    if problems:
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{folder} has folders that are not classes of the model: "
            f"{'; '.join(problems[:_SHOWN])}{more}. Name each folder by a class's index from 0 or "
            f"its label, or write a {TABLE} with the columns file and label."
        )
    if not images:
        raise DataError(f"The folders in {folder} have no files. Put each image into one of them.")
    beside = len(inside) - len(folders)
    files = (
        "1 file beside the classes' folders is"
        if beside == 1
        else (f"{beside} files beside the classes' folders are")
    )
    return images, (f"{files} left out.",) if beside else ()


def _class_of_folder(text: str, classes: int, names: Sequence[str] | None) -> int:
    """Return the class of a folder. A number may be an index or a label, if only one is meant."""
    if not text.isdecimal():
        return _class_named(text, classes, names)
    found = set(_indices(text, names or ()))
    if int(text) < classes:
        found.add(int(text))
    if len(found) > 1:
        raise ValueError(f"{text!r} is the index of one class and the label of another")
    return found.pop() if found else class_index(text, classes)


def _class_named(text: str, classes: int, names: Sequence[str] | None) -> int:
    if names is None:
        raise ValueError(
            f"{text[:40]!r} is not an index from 0 to {classes - 1}, and the labels of the model "
            "are not known here"
        )
    found = _indices(text, names)
    if len(found) == 1:
        return found[0]
    if found:
        indices = " and ".join(map(str, found))
        raise ValueError(f"{text!r} is the label of classes {indices}; write the index")
    near = nearest(text, names)
    meant = f" (did you mean {near!r}?)" if near else ""
    raise ValueError(f"{text[:40]!r} is not a label of the model{meant}")


def _indices(text: str, names: Iterable[str]) -> list[int]:
    """Return the classes with a label, whose spaces may be written as underscores."""
    wanted = _key(text)
    return [index for index, name in enumerate(names) if _key(name) == wanted]


def _key(name: str) -> str:
    return name.replace("_", " ").strip().casefold()
