"""The images of a folder, and their classes."""

from collections.abc import Collection
from functools import partial
from pathlib import Path

from service.errors import SetupError
from service.evaluate.labels import TABLE, class_index, read_table

IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp")
)
"""The suffixes of the images that are taken from a folder. A file given by name may have any."""


class FolderError(SetupError):
    """A folder does not exist or has no images, or its table has another file."""


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
        DataError: the table cannot be read, or a line is not valid.
        FolderError: the table has a file that is not one of the images.
    """
    if not (folder / TABLE).exists():
        return {}
    known = {image.resolve(): image for image in images}
    labels: dict[Path, int] = {}
    for row in read_table(folder, partial(class_index, classes=classes)):
        image = known.get(row.path.resolve())
        if image is None:
            raise FolderError(
                f"{folder / TABLE}, line {row.line}: {row.file!r} is not an image of this folder."
            )
        labels[image] = row.label
    return labels
