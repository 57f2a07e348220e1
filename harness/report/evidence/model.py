"""What a dossier holds, and the JSON that it is written as.

::

    Dossier ── verdict, service               what the reader sees first
     ├── attackers: AttackerEvidence          what the service stops, by kinds of attackers
     ├── runs: RunEvidence                    one for each attack, with its command
     ├── data_sets: DataSet                   the photographs, by their digests
     ├── metrics: Metric                      what the AI Act wants declared
     ├── requirements: Requirement            the rows of OWASP AISVS C11
     ├── robustbench: RobustBench             whether RobustBench would accept the defence
     └── sources: Source                      the standards, by version and address
"""

from typing import Literal, TypeAlias

from pydantic import BaseModel, ConfigDict

from harness.rates import Rate

FORMAT = 1
Answer: TypeAlias = Literal["yes", "no", "not measured"]
Outcome: TypeAlias = Literal[
    "not stopped",
    "accuracy lost",
    "stopped",
    "too few photographs",
    "says little",
    "does not count",
    "control",
]
"""What a run shows, the worst first."""
CheckResult: TypeAlias = Literal["met", "not met", "not done"]
_DIGITS = 6


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Share(_Part):
    """A share in [0, 1] with its 95 % Wilson interval by the number of photographs."""

    share: float
    low: float
    high: float

    @classmethod
    def of(cls, rate: Rate) -> "Share":
        """Return a measured rate, rounded to six digits."""
        low, share, high = (round(each, _DIGITS) for each in (rate.low, rate.share, rate.high))
        return cls(share=share, low=low, high=high)


class Source(_Part):
    """A standard or another text that the dossier refers to."""

    key: str
    name: str
    version: str
    address: str


class Technique(_Part):
    """A technique of MITRE ATLAS."""

    id: str
    name: str


class Service(_Part):
    """What was attacked.

    Attributes:
        model_sha256: None if the endpoint does not report it.
        model_version: what an endpoint without a SHA-256 reports instead.
        defense_assumed: whether the user stated the defence, because the endpoint does not
            describe it.
        compared: the other defences among the runs. They answer no question of the dossier.
    """

    model: str
    model_sha256: str | None
    model_version: str | None
    defense: str
    defense_assumed: bool
    addresses: tuple[str, ...]
    compared: tuple[str, ...]


class Photograph(_Part):
    """One photograph: its name, the SHA-256 of its pixels as 8-bit RGB, and its true class."""

    file: str
    sha256: str
    label: int


class DataSet(_Part):
    """The photographs of one or more runs.

    ``sha256`` is the digest of the list [[file, sha256, label], …], sorted, as ``json.dumps`` of
    Python writes it without options.
    """

    name: str
    sha256: str
    photographs: tuple[Photograph, ...]


class CheckEvidence(_Part):
    """A check whether the attack, or the endpoint, works as it should."""

    name: str
    result: CheckResult
    detail: str


class RunEvidence(_Part):
    """One run: who attacks, with which command, and what came of it.

    Attributes:
        number: its position in the dossier, from 1; sorted by what the attacker knows.
        file_sha256: the SHA-256 of its ``run.json``.
        attacker: what the attacker does, in words.
        nist: the terms of NIST AI 100-2 E2025; empty for a control.
        atlas: the techniques of MITRE ATLAS; empty for a control.
        atlas_note: why AML.T0015 is claimed, or is not.
        data_set: the SHA-256 of its photographs; see :class:`DataSet`.
        surrogate: the model whose gradients were taken, with its SHA-256.
        command: the command that makes the run again.
        not_recorded: options that the file does not have, so that the command uses their defaults.
        any_of, majority_of: the shares of photographs with a success in one draw, and in more than
            half of the draws.
        gradients, queries: means over photographs.
    """

    number: int
    name: str
    file_sha256: str
    created: str
    defense: str
    attack: str
    attacker: str
    summary: str
    reference: str
    goal: str
    budget: str
    posted: str
    outcome: Outcome
    nist: tuple[str, ...]
    atlas: tuple[Technique, ...]
    atlas_note: str
    data_set: str
    photographs: int
    draws: int
    seed: int
    surrogate: dict[str, str] | None
    clean_accuracy: Share
    accuracy: Share
    clean_success: Share
    success: Share
    any_of: Share
    majority_of: Share
    l2_rms: float
    linf: float
    gradients: float
    queries: float
    checks: tuple[CheckEvidence, ...]
    versions: dict[str, str]
    command: str
    not_recorded: tuple[str, ...]


class AttackerEvidence(_Part):
    """A kind of attacker: the outcome of its most successful run, and the numbers of its runs."""

    attacker: str
    outcome: Outcome
    most_successful: int
    runs: tuple[int, ...]


class Metric(_Part):
    """A figure for the instructions for use, with the condition under which it holds."""

    name: str
    condition: str
    measured: Share | None
    articles: str


class Requirement(_Part):
    """A row of OWASP AISVS C11, its subject in our words, and the answer of the runs."""

    id: str
    level: Literal[1, 2, 3]
    subject: str
    answer: Answer
    figure: str
    reason: str


class RobustBench(_Part):
    """Whether RobustBench's rules accept the defence; ``accepted`` is None if it is not known."""

    accepted: bool | None
    paragraph: str


class Dossier(_Part):
    """Everything that the dossier says."""

    format: Literal[1] = 1
    made_with: str
    verdict: tuple[str, ...]
    remarks: tuple[str, ...]
    service: Service
    attackers: tuple[AttackerEvidence, ...]
    runs: tuple[RunEvidence, ...]
    data_sets: tuple[DataSet, ...]
    metrics: tuple[Metric, ...]
    requirements: tuple[Requirement, ...]
    robustbench: RobustBench
    rules: tuple[str, ...]
    sources: tuple[Source, ...]

    def json_text(self) -> str:
        """Return the dossier as JSON, the same for the same dossier."""
        return self.model_dump_json(indent=1) + "\n"
