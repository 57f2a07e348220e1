"""The folder of a run: the state of each image after every round, so that a run can be resumed.

::

    FOLDER/plan.json             what is run; a run with another plan is refused
    FOLDER/states/NAME.npz       one image: iterate, memory, counters, scores so far
    FOLDER/checks/NAME.json      what a check measured
    FOLDER/clean|adversarial/    the images as PNG, once they are finished
    FOLDER/run.json              the result, once all is done
"""

import io
import json
from collections.abc import Callable, Container
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.budget import as_pixels
from harness.errors import RunError
from harness.results import ADVERSARIAL, CLEAN, Score, image_name
from harness.types import Case, Posted, State
from models import write_atomically

_COUNTERS = [each.name for each in fields(State) if each.type is int or each.type == "int"]


@dataclass
class ImageProgress:
    """The progress of a run on one image.

    Attributes:
        state: the attack's state.
        scores: the scores so far by round, that of the clean image first.
        seconds: the attack's time on this image so far.
        outside_budget: how many scored iterates were outside the budget.
        first_success_round: the round of the first success, if the attack stops there.
    """

    state: State
    scores: list[Score]
    seconds: float = 0.0
    outside_budget: int = 0
    first_success_round: int | None = None

    def is_over(self, rounds: int) -> bool:
        """Return whether the attack on this image has ended."""
        return self.first_success_round is not None or self.state.round >= rounds

    def is_due(self, rounds: Container[int]) -> bool:
        """Return whether the current iterate is to be scored and has no score yet."""
        scored = bool(self.scores) and self.scores[-1].round == self.state.round
        return not scored and (self.first_success_round is not None or self.state.round in rounds)


class Storage:
    """The folder of one run."""

    def __init__(self, folder: Path, plan: dict[str, Any]) -> None:
        """Open the folder of a run, or create it.

        Raises:
            RunError: the folder holds a run with another plan, or cannot be read or written.
        """
        self.folder = folder
        text = json.dumps(plan, indent=1, sort_keys=True)
        file = folder / "plan.json"
        try:
            if file.exists():
                _require_same(json.loads(file.read_text("utf-8")), json.loads(text), folder)
            else:
                write_atomically(file, text.encode())
        except (OSError, ValueError) as error:
            raise RunError(f"{folder} cannot hold a run: {error}.") from None

    def load(self, case: Case) -> ImageProgress | None:
        """Return the stored progress on an image, or None if nothing is stored."""
        return _read(_state_file(self.folder, case))

    def save(self, case: Case, progress: ImageProgress) -> None:
        """Store the progress on an image."""
        state = progress.state
        kept = {
            "counters": {name: int(getattr(state, name)) for name in _COUNTERS},
            "scores": [score.model_dump() for score in progress.scores],
            "seconds": progress.seconds,
            "outside_budget": progress.outside_budget,
            "first_success_round": progress.first_success_round,
        }
        memory = {f"memory_{name}": value for name, value in state.memory.items()}
        buffer = io.BytesIO()
        arrays = {"adversarial": state.adversarial, "kept": np.array(json.dumps(kept)), **memory}
        np.savez(buffer, allow_pickle=False, **arrays)
        write_atomically(_state_file(self.folder, case), buffer.getvalue())

    def save_images(self, case: Case, posted: Posted) -> None:
        """Store the photograph and the last posted image as 8-bit PNG."""
        for folder, image in ((CLEAN, case.image), (ADVERSARIAL, as_pixels(posted))):
            buffer = io.BytesIO()
            Image.fromarray(np.rint(image * 255).astype(np.uint8)).save(
                buffer, "PNG", compress_level=1
            )
            write_atomically(self.folder / folder / image_name(case.file), buffer.getvalue())

    def cached(self, name: str, measure: Callable[[], list[float]]) -> list[float]:
        """Return the stored measurement of a check, or measure and store it."""
        file = self.folder / "checks" / f"{name}.json"
        if file.exists():
            kept: list[float] = json.loads(file.read_text("utf-8"))
            return kept
        measured = measure()
        write_atomically(file, json.dumps(measured).encode())
        return measured


def finished(folder: Path, plan: dict[str, Any], case: Case) -> ImageProgress:
    """Return the finished progress of another run, with the same attack on the same image.

    Args:
        folder: the folder of the other run.
        plan: the plan of this run. It may differ in the endpoint and in the scoring.
        case: the image.

    Raises:
        RunError: the other run has a different attack, model, seed or image, or has not finished
            this image.
    """
    try:
        other = json.loads((folder / "plan.json").read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise RunError(f"{folder} does not hold a run: {error}.") from None
    own = json.loads(json.dumps(plan))
    same = all(other.get(key) == own[key] for key in ("attack", "surrogate", "seed"))
    same = same and other["images"].get(case.file) == own["images"][case.file]
    progress = _read(_state_file(folder, case)) if same else None
    if progress is None or not progress.is_over(own["attack"]["parameters"]["rounds"]):
        raise RunError(
            f"{folder} does not hold a finished result of this attack on {case.file}. It may have "
            "been made with other photographs or another model. Use another folder, or remove it."
        )
    return progress


def _state_file(folder: Path, case: Case) -> Path:
    return folder / "states" / (image_name(case.file) + ".npz")


def _read(file: Path) -> ImageProgress | None:
    if not file.exists():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        kept = json.loads(str(arrays["kept"]))
        memory = {k[7:]: arrays[k] for k in arrays.files if k.startswith("memory_")}
        state = State(arrays["adversarial"], memory=memory, **kept["counters"])
    return ImageProgress(
        state,
        [Score.model_validate(each) for each in kept["scores"]],
        kept["seconds"],
        kept["outside_budget"],
        kept["first_success_round"],
    )


def _require_same(kept: dict[str, Any], plan: dict[str, Any], folder: Path) -> None:
    different = [key for key in plan if kept.get(key) != plan[key]]
    if different:
        raise RunError(
            f"{folder} holds another run, which differs in its {_differences(kept, plan)}. "
            "Use another folder, or remove this one."
        )


def _differences(kept: dict[str, Any], plan: dict[str, Any]) -> str:
    """Name the keys with different values, and in brackets the keys inside them."""
    words = []
    for key, value in plan.items():
        before = kept.get(key)
        if before == value:
            continue
        if key != "images" and isinstance(value, dict) and isinstance(before, dict):
            key += f" ({_differences(before, value)})"
        elif not isinstance(value, dict):
            key += f" ({before}, not {value})"
        words.append(key)
    return ", ".join(words)
