"""What was answered so far, in a file from which a killed evaluation goes on."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from service.errors import SetupError
from service.evaluate.outcomes import Outcome

FILE = "answers.jsonl"


class StateError(SetupError):
    """The folder of --out cannot be used."""


class Record(BaseModel):
    """What is known about one image.

    Attributes:
        image: the SHA-256 of the file's bytes.
        outcomes: by the name of the condition.
        error: why the file cannot be classified; None if it can.
    """

    model_config = ConfigDict(frozen=True)

    image: str
    outcomes: dict[str, Outcome] = {}
    error: str | None = None


class State:
    """The records of all images by their SHA-256, in memory and maybe in a file.

    The first line of the file is what the answers depend on, and each further line a record. Images
    and defences may be added later: an image may have several lines, whose outcomes are joined.
    """

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self._path: Path | None = None

    @classmethod
    @contextmanager
    def opened(cls, folder: Path | None, identity: Mapping[str, JsonValue]) -> Iterator["State"]:
        """Open the state in a folder, which is made if it is missing; without one, in memory only.

        Args:
            folder: where the file is.
            identity: what the answers depend on, beside the images and the conditions.

        Raises:
            StateError: another evaluation uses the folder, or the file is damaged or of another
                model or other options.
        """
        state = cls()
        if folder is None:
            yield state
            return
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(folder / ".lock", timeout=0):
                state._read(folder / FILE, identity)
                yield state
        except Timeout:
            raise StateError(
                f"Another evaluation uses {folder}. Wait until it has ended, or name another "
                "folder with --out."
            ) from None

    def add(self, record: Record) -> None:
        """Add a record, and write it to the file before this returns."""
        self._join(record)
        if self._path is not None:
            with self._path.open("ab") as file:
                file.write(record.model_dump_json().encode() + b"\n")

    def _join(self, record: Record) -> None:
        before = self.records.get(record.image, record)
        outcomes = before.outcomes | record.outcomes
        self.records[record.image] = record.model_copy(update={"outcomes": outcomes})

    def _read(self, path: Path, identity: Mapping[str, JsonValue]) -> None:
        """Read the file, and cut off a last line that was not written to its end."""
        self._path = path
        content = path.read_bytes() if path.exists() else b""
        whole = content[: content.rfind(b"\n") + 1]
        if not whole:
            path.write_text(json.dumps(identity) + "\n", "utf-8")
            return
        first, *lines = whole.splitlines()
        try:
            _require_same(path.parent, json.loads(first), identity)
            for line in lines:
                self._join(Record.model_validate_json(line))
        except (ValueError, ValidationError):
            raise StateError(
                f"{path} is damaged. Remove it to measure from the beginning, or name another "
                "folder with --out."
            ) from None
        if len(whole) < len(content):
            with path.open("r+b") as file:
                file.truncate(len(whole))


def _require_same(
    folder: Path, there: Mapping[str, JsonValue], here: Mapping[str, JsonValue]
) -> None:
    if not isinstance(there, dict):
        raise ValueError("The first line is not an object.")
    differences = [
        f"{name} {json.dumps(there.get(name))} instead of {json.dumps(here.get(name))}"
        for name in dict.fromkeys((*there, *here))
        if there.get(name) != here.get(name)
    ]
    if differences:
        raise StateError(
            f"{folder} has answers with {' and '.join(differences)}. Name another folder with "
            "--out, or give the options of the first run."
        )
