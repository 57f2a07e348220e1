"""The folder of a run: the state of each image, so that a run can be resumed.

::

    FOLDER/plan.json             what is run; a run with another plan is refused
    FOLDER/states/NAME.npz       one image: iterate, memory, counters, scores so far
    FOLDER/checks/NAME.json      what a check measured, and on what
    FOLDER/clean|adversarial/    the images as PNG, once they are finished
    FOLDER/run.json              the result, once all is done
    FOLDER/.lock                 held by the process that works in the folder

States and measurements name their plan. A file that is damaged, or of another plan, is an error.
"""

import hashlib
import io
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pydantic import BaseModel, ConfigDict, ValidationError

from harness.budget import as_pixels
from harness.errors import RunError
from harness.files import locked, write
from harness.results import ADVERSARIAL, CLEAN, PLAN_FILE, image_name
from harness.runs.plan import Plan, differences
from harness.runs.states import ImageProgress, damaged, read_state, write_state
from harness.types import Case, Posted


class _Measured(BaseModel):
    """What a check measured: the fraction of successes for each photograph.

    Attributes:
        of: the plan, and all that the measurement depends on.
    """

    model_config = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="constants")

    of: dict[str, Any]
    successes: list[float]


@contextmanager
def opened(
    folder: Path, plan: Plan, confirm: Callable[[], None] = lambda: None
) -> Iterator["Storage"]:
    """Open the folder of a run, or create it. No other process can open it meanwhile.

    Args:
        folder: the folder.
        plan: the plan of the run.
        confirm: raises an error if the answers since its last call are not to be stored.

    Raises:
        RunError: the folder holds a run with another plan, is in use, or cannot be read or
            written.
    """
    with locked(folder):
        file = folder / PLAN_FILE
        if file.exists():
            _require_same(_plan(folder), plan, folder)
        else:
            write(file, json.dumps(plan, indent=1).encode())
        yield Storage(folder, _digest(plan), confirm)


@dataclass(frozen=True)
class Storage:
    """The folder of one run, which :func:`opened` opens.

    Attributes:
        folder: the folder.
        plan: the SHA-256 of the run's plan.
        confirm: is called before anything is stored.
    """

    folder: Path
    plan: str
    confirm: Callable[[], None]

    def load(self, case: Case) -> ImageProgress | None:
        """Return the stored progress on an image, or None if nothing is stored.

        Raises:
            RunError: the file is damaged, or belongs to another run or photograph.
        """
        return read_state(_state_file(self.folder, case), self.plan, case)

    def save(self, case: Case, progress: ImageProgress) -> None:
        """Store the progress on an image.

        Raises:
            RunError: the file cannot be written.
        """
        self.confirm()
        write(_state_file(self.folder, case), write_state(progress, self.plan, case))

    def save_images(self, case: Case, posted: Posted) -> None:
        """Store the photograph and the last posted image as 8-bit PNG."""
        for folder, image in ((CLEAN, case.image), (ADVERSARIAL, as_pixels(posted))):
            buffer = io.BytesIO()
            Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(
                buffer, "PNG", compress_level=1
            )
            write(self.folder / folder / image_name(case.file), buffer.getvalue())

    def cached(
        self, name: str, of: dict[str, Any], measure: Callable[[], list[float]]
    ) -> list[float]:
        """Return the stored measurement of a check, or measure and store it.

        Args:
            name: the name of the measurement.
            of: all that it depends on besides the plan. A stored measurement of something else is
                replaced.
            measure: returns a number for each photograph.

        Raises:
            RunError: the file is damaged, or cannot be written.
        """
        file = self.folder / "checks" / f"{name}.json"
        of = json.loads(json.dumps({"plan": self.plan, **of}))
        if file.exists():
            try:
                kept = _Measured.model_validate_json(file.read_bytes())
            except (OSError, ValidationError) as error:
                raise damaged(file, "Remove it to measure again", error) from None
            if kept.of == of:
                return kept.successes
        measured = measure()
        self.confirm()
        write(file, _Measured(of=of, successes=measured).model_dump_json().encode())
        return measured


def finished(folder: Path, plan: Plan, case: Case) -> ImageProgress:
    """Return the finished progress of another run, with the same attack on the same image.

    Args:
        folder: the folder of the other run.
        plan: the plan of this run. It may differ in the endpoint and in the scoring.
        case: the image.

    Raises:
        RunError: the other run has a different attack, model, seed, image, label or target, has
            not finished this image, or was made with other versions.
    """
    other = _plan(folder)
    keys = ("attack", "surrogate", "seed", "versions")
    same = all(other.get(key) == plan[key] for key in keys)
    same = same and _photograph(other, case) == _photograph(plan, case)
    progress = read_state(_state_file(folder, case), _digest(other), case) if same else None
    if progress is None or not progress.is_over(plan["attack"]["parameters"]["rounds"]):
        raise RunError(
            f"{folder} does not hold a finished result of this attack on {case.file}. It may have "
            "been made with other photographs or another model. Use another folder, or remove it."
        )
    return progress


def planned_photographs(folder: Path) -> frozenset[str]:
    """Return the names of the photographs in the plan of a folder; none if it has no plan."""
    try:
        return frozenset(str(each["file"]) for each in _plan(folder)["photographs"])
    except (RunError, KeyError, TypeError):
        return frozenset()


def _photograph(plan: Plan, case: Case) -> Any:
    """Return what a plan holds of a photograph; None if it is not in the plan."""
    try:
        return next((each for each in plan["photographs"] if each["file"] == case.file), None)
    except (KeyError, TypeError):
        return None


def _state_file(folder: Path, case: Case) -> Path:
    return folder / "states" / (image_name(case.file) + ".npz")


def _digest(plan: Plan) -> str:
    return hashlib.sha256(json.dumps(plan, sort_keys=True).encode()).hexdigest()


def _plan(folder: Path) -> Plan:
    """Read the plan of a folder.

    Raises:
        RunError: it is missing or damaged.
    """
    file = folder / PLAN_FILE
    try:
        plan = json.loads(file.read_bytes())
        if not isinstance(plan, dict):
            raise ValueError("it is not an object")
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(
            f"{folder} does not hold a run: plan.json cannot be read: {error}."
        ) from None
    return plan


def _require_same(kept: Plan, plan: Plan, folder: Path) -> None:
    if kept != plan:
        raise RunError(
            f"{folder} holds another run, which differs in its {differences(kept, plan)}. "
            "Use another folder, or remove this one."
        )
