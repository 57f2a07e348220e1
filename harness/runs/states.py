"""The state of an attack on one image, in a file: iterate, memory, counters, and scores so far."""

import io
import zlib
from collections.abc import Container
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from pydantic import BaseModel, ConfigDict

from harness.errors import RunError
from harness.results import Score
from harness.types import Case, State

_COUNTERS = [each.name for each in fields(State) if each.type is int or each.type == "int"]
_DAMAGED = (
    *(ArithmeticError, AttributeError, EOFError, LookupError, OSError, RuntimeError, TypeError),
    *(ValueError, BadZipFile, zlib.error),
)
"""What NumPy and zipfile raise for a file that is cut short or damaged."""


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


class _Kept(BaseModel):
    """The part of a state that is not an array.

    Attributes:
        plan: the SHA-256 of the run's plan.
        file: the photograph.
    """

    model_config = ConfigDict(strict=True, extra="forbid", ser_json_inf_nan="constants")

    plan: str
    file: str
    counters: dict[str, int]
    scores: list[Score]
    seconds: float
    outside_budget: int
    first_success_round: int | None


def write_state(progress: ImageProgress, plan: str, case: Case) -> bytes:
    """Return the content of a file.

    Args:
        progress: the progress on an image.
        plan: the SHA-256 of the run's plan.
        case: the image.
    """
    state = progress.state
    kept = _Kept(
        plan=plan,
        file=case.file,
        counters={name: int(getattr(state, name)) for name in _COUNTERS},
        scores=progress.scores,
        seconds=progress.seconds,
        outside_budget=int(progress.outside_budget),
        first_success_round=progress.first_success_round,
    )
    memory = {f"memory_{name}": value for name, value in state.memory.items()}
    buffer = io.BytesIO()
    text = np.array(kept.model_dump_json())
    np.savez(buffer, allow_pickle=False, adversarial=state.adversarial, kept=text, **memory)
    return buffer.getvalue()


def read_state(file: Path, plan: str, case: Case) -> ImageProgress | None:
    """Read a file that :func:`write_state` made, or return None if there is none.

    Raises:
        RunError: the file is damaged, or belongs to another run or photograph.
    """
    if not file.exists():
        return None
    again = f"Remove it to attack {case.file} from the start"
    try:
        with np.load(io.BytesIO(file.read_bytes()), allow_pickle=False) as arrays:
            kept = _Kept.model_validate_json(str(arrays["kept"]))
            memory = {k[7:]: arrays[k] for k in arrays.files if k.startswith("memory_")}
            state = State(arrays["adversarial"], memory=memory, **kept.counters)
    except _DAMAGED as error:
        raise damaged(file, again, error) from None
    image = state.adversarial
    whole = image.shape == case.image.shape and image.dtype == case.image.dtype
    if (kept.plan, kept.file) != (plan, case.file) or not whole:
        raise RunError(f"{file} belongs to another run or photograph. {again}.")
    return ImageProgress(
        state, kept.scores, kept.seconds, kept.outside_budget, kept.first_success_round
    )


def damaged(file: Path, again: str, error: Exception) -> RunError:
    """Return the error for a file that cannot be read, and how to do its work again."""
    return RunError(f"{file} cannot be read, because it is damaged: {error}. {again}.")
