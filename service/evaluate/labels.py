"""Tables of labelled images: a ``labels.csv`` with the columns ``file`` and ``label``."""

import csv
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from service.errors import SetupError

TABLE = "labels.csv"
_COLUMNS = ("file", "label", "target")
_SHIFTED_AT_LEAST = 3
"""From how many images on labels that are all one too high are taken for a mistake."""


class DataError(SetupError):
    """The labelled images, or their table, cannot be used."""


@dataclass(frozen=True)
class Row:
    """One row of a table.

    Attributes:
        path: where the image is.
        file: its name in the table.
        label: its true class, an index from 0.
        cells: all values of the row, by column.
        line: the number of the row's line, from 1.
    """

    path: Path
    file: str
    label: int
    cells: Mapping[str, str]
    line: int


def read_table(folder: Path, class_of: Callable[[str], int]) -> tuple[Row, ...]:
    """Read the ``labels.csv`` of a folder. Each image has one row.

    Args:
        folder: what the names of the files are relative to.
        class_of: returns the class that a label means, or raises a ValueError that says why it
            means none.

    Raises:
        DataError: a file or a column is missing, a row is too short, too long or there already, or
            a label is not valid. The message has the number of the line.
    """
    table = folder / TABLE
    rows: list[Row] = []
    lines: dict[Path, int] = {}
    for line, cells in _lines(table):
        path = folder / cells["file"]
        try:
            row = Row(path, cells["file"], class_of(cells["label"]), cells, line)
            if not path.is_file():
                raise ValueError(f"{path} does not exist")
        except (OSError, ValueError) as error:
            raise DataError(f"{table}, line {line}: {error}.") from None
        before = lines.setdefault(path.resolve(), line)
        if before != line:
            raise DataError(
                f"{table}, line {line}: {row.file} is in line {before} already. "
                "Remove one of the two."
            )
        rows.append(row)
    if not rows:
        raise DataError(f"{table} has no rows. Add a row for each photograph.")
    return tuple(rows)


def class_index(text: str, classes: int) -> int:
    """Return the class whose index a text is.

    Raises:
        ValueError: it is not the index of one of the ``classes`` classes.
    """
    number = int(text) if text.strip().isdecimal() and len(text) < 20 else -1
    if not 0 <= number < classes:
        raise ValueError(f"{text[:40]!r} is not a class; classes are 0 to {classes - 1}")
    return number


def count_from_1(lowest: int, images: int, right: int, one_too_high: int) -> bool:
    """Return whether labels seem to count from 1, while classes count from 0.

    Args:
        lowest: the lowest of all labels, also of images that were not classified.
        images: how many images the bare model classified.
        right: on how many of them its class was the label.
        one_too_high: on how many of them its class was the label minus 1.
    """
    if lowest < 1:
        return False
    return one_too_high > max(2 * right, _SHIFTED_AT_LEAST - 1) or (
        right == 0 and one_too_high == images
    )


def _lines(table: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the rows of a table, each with the number of its line. Empty lines are skipped."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.reader(file)
            columns = next(reader, [])
            known = [name for name in columns if name in _COLUMNS]
            if not {"file", "label"} <= set(known) or len(known) != len(set(known)):
                raise DataError(
                    f"{table}, line 1: the columns are {', '.join(columns) or 'missing'}; file and "
                    "label are needed once, and target is optional."
                )
            for row in reader:
                if len(row) not in (0, len(columns)):
                    raise DataError(
                        f"{table}, line {reader.line_num}: the row has {len(row)} values, but the "
                        f"table has {len(columns)} columns ({', '.join(columns)})."
                    )
                if row:
                    yield reader.line_num, dict(zip(columns, row, strict=True))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{table} cannot be read: {error}.") from None
