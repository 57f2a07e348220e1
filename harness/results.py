"""The result of a run: one JSON file with everything that is needed to judge and to repeat it.

A run is one attack on one endpoint::

    Run ── attack, endpoint, dataset, seed, versions       what was done
     ├── images: ImageResult                               one for each photograph
     │    └── scores: Score                                round 0 is the clean image
     └── checks: Check                                     whether the result can be believed
"""

import hashlib
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import RunError
from harness.files import write

FORMAT = 1
RUN_FILE, PLAN_FILE = "run.json", "plan.json"
_READABLE = 60
"""How many characters of a photograph's own name are in the name of a file."""
CLEAN, ADVERSARIAL = "clean", "adversarial"
"""The folders of a run's images, beside its file. :func:`image_name` names the files in them."""


def image_name(file: str) -> str:
    """Return the name of a photograph's 8-bit PNG in those folders, which no other one has.

    >>> image_name("cats/1.jpg")
    'cats_1.jpg-dedaa2dc216fd404.png'
    """
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", file)[-_READABLE:]
    return f"{readable}-{hashlib.sha256(file.encode()).hexdigest()[:16]}.png"


def run_folders(path: Path) -> list[Path]:
    """Return the runs that a path names: one run by its folder or file, or a folder of runs.

    A folder of runs has a folder for each, or is one of JSON files, such as ``docs/robustness``.

    Raises:
        RunError: the path is a folder, and no finished run is in it or in a folder in it.
    """
    if not path.is_dir() or (path / RUN_FILE).exists():
        return [path]
    runs = sorted(file.parent for file in path.glob(f"*/{RUN_FILE}"))
    if not runs and not (path / PLAN_FILE).exists():
        runs = sorted(path.glob("*.json"))
    if not runs:
        raise RunError(
            f"{path} does not hold a finished run: there is no {RUN_FILE} in it or in a folder in "
            "it. Repeat the command of an interrupted run to finish it."
        )
    return runs


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Score(_Record):
    """The answers to one iterate of one image, which is posted several times.

    Attributes:
        round: the round of the iterate; 0 is the clean image.
        classes: the most probable class for each post, each on a fresh draw of the defence.
        l2_rms: the root mean square of the posted change, with pixels in [0, 1].
        linf: the largest absolute value of the posted change.
    """

    round: int
    classes: tuple[int, ...] = Field(min_length=1)
    l2_rms: float
    linf: float


class ImageResult(_Record):
    """The result for one photograph.

    Attributes:
        file: the photograph's name in the dataset.
        sha256: the SHA-256 of its pixels, as 8-bit RGB.
        label: the true class.
        target: the class that the attacker wants; None for an untargeted attack.
        scores: the scores by round, that of the clean image first.
        gradients: how many gradients the attack took. Each draw counts.
        queries: how many images the attack posted. Images posted for a score do not count.
        seconds: the attack's time on this image, or an equal part of the time of its batch.
        zero_gradients: how many rounds had a gradient that was zero everywhere.
        nonfinite_gradients: how many rounds had a gradient with a NaN or an infinity.
        outside_budget: how many scored iterates were outside the budget before their projection.
        first_success_round: the round of the first success, if the attack stops there.
    """

    file: str
    sha256: str
    label: int
    target: int | None
    scores: tuple[Score, ...] = Field(min_length=1)
    gradients: int
    queries: int
    seconds: float
    zero_gradients: int = 0
    nonfinite_gradients: int = 0
    outside_budget: int = 0
    first_success_round: int | None = None


class Check(_Record):
    """A check whether the attack works as it should.

    Attributes:
        name: the name of the check, such as ``fixed-draw``.
        passed: whether the check passed; None if it does not apply to this attack.
        detail: what was measured and what was wanted, in one sentence.
        measured: the measured values.
    """

    name: str
    passed: bool | None
    detail: str
    measured: dict[str, float] = {}


class AttackRecord(_Record):
    """The attack and all of its parameters."""

    name: str
    summary: str
    reference: str
    parameters: dict[str, Any]
    norm: Literal["l2", "linf"]
    epsilon: float
    targeted: bool


class EndpointRecord(_Record):
    """The endpoint, as it describes itself.

    Attributes:
        model_sha256: the SHA-256 of its ONNX graph; None if the endpoint does not report one.
        model_version: what an endpoint without a SHA-256 reports instead, if it reports anything.
        defense: the defence in front of the model.
        defense_assumed: whether the user stated the defence, because the endpoint does not
            describe it.
        form: how images are posted and answers are read, if that is not the same for every model.
        labels: whether its classes are those of ImageNet, so that a reader can name them.
    """

    url: str
    model: str
    model_sha256: str | None
    defense: str
    protocol: str
    quantized: bool
    labels: Literal["imagenet-1k", "own"] = "own"
    defense_assumed: bool = False
    model_version: str | None = None
    form: str | None = None


class DatasetRecord(_Record):
    """The attacked photographs: the first ``selected`` ones that the bare model gets right.

    If no copy of the model is there, they are those that the endpoint got right in one post.
    """

    name: str
    candidates: int
    selected: int


class OptionsRecord(_Record):
    """The options that no other part of a run records; see :class:`harness.runs.options.Options`.

    ``score_rounds`` has every scored round, the last one included.
    """

    score_rounds: tuple[int, ...]
    images_at_once: int
    sanity_images: int


class Run(_Record):
    """One attack on one endpoint.

    Attributes:
        name: the name of the run's folder.
        created: the time when the run ended, ISO 8601 in UTC.
        seconds: the time of the attack, without scoring and checks.
        versions: the versions of Python and of the packages that affect a result.
        surrogate: the name and SHA-256 of the model whose gradients were taken, if there is one.
        seed: the seed of the attacker's own randomness. The endpoint's randomness has no seed.
        scoring_draws: how often each scored iterate was posted.
        options: the other options, to write the command that repeats the run; None in older files.
    """

    format: Literal[1] = 1
    name: str
    created: str
    seconds: float
    versions: dict[str, str]
    attack: AttackRecord
    endpoint: EndpointRecord
    surrogate: dict[str, str] | None
    dataset: DatasetRecord
    seed: int
    scoring_draws: int
    options: OptionsRecord | None = None
    images: tuple[ImageResult, ...] = Field(min_length=1)
    checks: tuple[Check, ...] = ()

    @property
    def believable(self) -> bool:
        """Whether the run has no failed check."""
        return all(check.passed is not False for check in self.checks)

    def write(self, folder: Path) -> Path:
        """Write the run into its folder, completely or not at all, and return the file.

        Raises:
            RunError: the file cannot be written.
        """
        path = folder / RUN_FILE
        write(path, (self.model_dump_json() + "\n").encode())
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run from its folder, or from a JSON file.

        Raises:
            RunError: the file cannot be read, or does not have this format.
        """
        return cls.read_with_digest(path)[0]

    @classmethod
    def read_with_digest(cls, path: Path) -> tuple[Self, str]:
        """Read a run, and return it with the SHA-256 of its file.

        Raises:
            RunError: see :meth:`read`.
        """
        file = path / RUN_FILE if path.is_dir() else path
        try:
            content = file.read_bytes()
            return cls.model_validate_json(content), hashlib.sha256(content).hexdigest()
        except OSError as error:
            raise RunError(f"{file} cannot be read: {error.strerror}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise RunError(
                f"{file} is not a run of format {FORMAT}: {where}: {first['msg']}."
            ) from None
