"""The images of a folder, and their classes."""

import csv
from collections.abc import Collection
from pathlib import Path

from service.errors import SetupError

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
"""The suffixes of the images that are taken from a folder. A file given by name may have any."""
TABLE = "labels.csv"
_COLUMNS = ("file", "label")


class FolderError(SetupError):
    """A folder does not exist or has no images, or its table is not valid."""


def images_in(folder: Path) -> list[Path]:
    """List the images in a folder and its subfolders, in the order of their paths.

    Raises:
        FolderError: there are none.
    """
    if not folder.is_dir():
        raise FolderError(f"{folder} is not a folder.")
    inside = [each for each in folder.rglob("*") if each.suffix.lower() in IMAGE_SUFFIXES]
    found = sorted(each for each in inside if each.is_file())
    if not found:
        kinds = ", ".join(sorted(IMAGE_SUFFIXES))
        raise FolderError(f"The folder {folder} has no images: {kinds}.")
    return found


def labels_in(folder: Path, images: Collection[Path], classes: int) -> dict[Path, int]:
    """Read the classes of images from ``labels.csv``, whose columns are ``file`` and ``label``.

    Args:
        folder: the folder; ``file`` is a path in it.
        images: those of :func:`images_in`.
        classes: how many classes there are; ``label`` is a number from 0.

    Returns:
        The classes of the images that the table has; none without a table.

    Raises:
        FolderError: the table cannot be read, or a line is not valid.
    """
    table = folder / TABLE
    if not table.exists():
        return {}
    known = {image.resolve(): image for image in images}
    labels: dict[Path, int] = {}
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := [each for each in _COLUMNS if each not in (rows.fieldnames or ())]:
                raise FolderError(f"{table} has no column {missing[0]!r} in its first line.")
            for row in rows:
                where = f"{table}, line {rows.line_num}"
                image = known.get((folder / (row["file"] or "")).resolve())
                if image is None:
                    raise FolderError(f"{where}: {row['file']!r} is not an image of this folder.")
                label = row["label"] or ""
                if not (label.isascii() and label.isdigit() and int(label) < classes):
                    raise FolderError(f"{where}: the label must be 0 to {classes - 1}: {label!r}.")
                labels[image] = int(label)
    except OSError as error:
        raise FolderError(f"{table} cannot be read: {error.strerror}.") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise FolderError(f"{table} is not a table in UTF-8: {error}.") from None
    return labels
