"""What a run writes: one JSON file with everything that is needed to judge and to repeat it.

A run is one attack on one endpoint::

    Run ── attack, endpoint, dataset, seed, versions       what was done
     ├── images: ImageResult                               one for each photograph
     │    └── scores: Score                                round 0 is the clean image
     └── checks: Check                                     whether it can be believed
"""

from pathlib import Path
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from harness.errors import RunError
from models import write_atomically

FORMAT = 1
RUN_FILE = "run.json"
CLEAN, ADVERSARIAL = "clean", "adversarial"
"""The folders, beside the run's file, of its images; see :func:`image_name`."""


def image_name(file: str) -> str:
    """What a photograph's 8-bit PNG is called in those folders."""
    return file.replace("/", "__") + ".png"


def run_folders(path: Path) -> list[Path]:
    """What is meant by a path: one run, by its folder or its file, or each of a folder of runs.

    Raises:
        RunError: it is a folder, and neither it nor a folder in it is a finished run's.
    """
    if not path.is_dir() or (path / RUN_FILE).exists():
        return [path]
    runs = sorted(file.parent for file in path.glob(f"*/{RUN_FILE}"))
    if not runs:
        raise RunError(
            f"{path} is no finished run, and no folder of such: there is no {RUN_FILE} in it, nor "
            "in a folder in it. A run that was interrupted is finished by the same command."
        )
    return runs


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_inf_nan="constants")


class Score(_Record):
    """One iterate of one image, posted to the endpoint again and again.

    Attributes:
        round: how many rounds of the attack came before; 0 is the clean image.
        classes: the endpoint's most probable class, one for each fresh draw of its defence.
        l2_rms: the root mean square of the change that was posted, pixels being in [0, 1].
        linf: its largest absolute value.
    """

    round: int
    classes: tuple[int, ...] = Field(min_length=1)
    l2_rms: float
    linf: float


class ImageResult(_Record):
    """What became of one photograph.

    Attributes:
        file: its name in the dataset.
        sha256: of its pixels, as 8-bit RGB.
        label: the true class.
        target: the class that the attacker wants; None for an untargeted attack.
        scores: by round, the clean image first.
        gradients: gradient evaluations that the attack spent, each draw counting as one.
        queries: images that the attack asked the endpoint about; scoring is not counted.
        seconds: the attack's time on this image, its share where images were batched.
        zero_gradients: rounds whose gradient was zero everywhere.
        nonfinite_gradients: rounds whose gradient had a NaN or an infinity.
        outside_budget: scored iterates that were outside the budget before they were brought in.
        first_success_round: where the attack stops at its first hit: the round of it.
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
    """Whether the run shows a sign that an attack went wrong.

    Attributes:
        name: of the check, such as ``fixed-draw``.
        passed: None where the check does not apply to this attack.
        detail: what was measured and what was wanted, in one sentence.
        measured: the same as numbers.
    """

    name: str
    passed: bool | None
    detail: str
    measured: dict[str, float] = {}


class AttackRecord(_Record):
    """The attack: its name and every parameter of it."""

    name: str
    summary: str
    reference: str
    parameters: dict[str, Any]
    norm: Literal["l2", "linf"]
    epsilon: float
    targeted: bool


class EndpointRecord(_Record):
    """The endpoint, as it described itself.

    ``labels`` says whether its classes are those of ImageNet, so that a reader can name them.
    """

    url: str
    model: str
    model_sha256: str | None
    defense: str
    protocol: str
    quantized: bool
    labels: Literal["imagenet-1k", "own"] = "own"


class DatasetRecord(_Record):
    """Which photographs were attacked: the first ``selected`` that the bare model gets right."""

    name: str
    candidates: int
    selected: int


class Run(_Record):
    """One attack on one endpoint.

    Attributes:
        name: the folder's own name; what a reader calls the run.
        created: when it was finished, ISO 8601 in UTC.
        seconds: of the attack, without its scoring and its checks.
        versions: of Python and of the packages that matter.
        surrogate: the model whose gradients were taken (name and SHA-256), where there is one.
        seed: of all of the attacker's own randomness; the endpoint's cannot be set.
        scoring_draws: how often each scored iterate was posted.
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
    images: tuple[ImageResult, ...] = Field(min_length=1)
    checks: tuple[Check, ...] = ()

    @property
    def believable(self) -> bool:
        """Whether no check failed."""
        return all(check.passed is not False for check in self.checks)

    def write(self, folder: Path) -> Path:
        """Write the run into its folder, whole or not at all."""
        path = folder / RUN_FILE
        write_atomically(path, (self.model_dump_json() + "\n").encode())
        return path

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a run from its folder, or from a JSON file.

        Raises:
            RunError: there is none, or it is not of this format.
        """
        file = path / RUN_FILE if path.is_dir() else path
        try:
            return cls.model_validate_json(file.read_bytes())
        except OSError as error:
            raise RunError(f"{file} cannot be read: {error.strerror}.") from None
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(map(str, first["loc"])) or "the document"
            raise RunError(
                f"{file} is not a run of format {FORMAT}: {where}: {first['msg']}."
            ) from None
