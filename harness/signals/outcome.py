"""What was measured: for each kind of traffic and each of its clients what the signals counted."""

from collections.abc import Iterable
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import RunError
from harness.files import write
from harness.results import DatasetRecord

SQUEEZE_THRESHOLD = 1.1
"""The distance that the served model ships with; a bound of the histogram's buckets."""
COMPARING = ("same-picture", "concentration")
"""The signals that compare images."""
SQUEEZE = "squeeze"
SIGNALS = (*COMPARING, SQUEEZE)
FILE = "signals.json"

Who = Literal["ordinary", "attack", "knows the signals"]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClientRecord(_Record):
    """The posts of one client.

    Attributes:
        posts: how many images were posted.
        right: how many answers were the photograph's class.
        noticed: how many posts a signal flagged, or squeeze found far.
        flagged: by signal, how many posts had at least 20 earlier ones that are like them.
        first: by signal, the number of the first such post, from 1: an event is then due.
        squeezed, far: how many images were inferred again, and how many were over the threshold.
        events: the numbers of the posts that raised an event; there is at most one a minute.
        skipped: how many images were not counted, by the reason.
    """

    posts: int = 0
    right: int = 0
    noticed: int = 0
    flagged: dict[str, int] = {}
    first: dict[str, int] = {}
    squeezed: int = 0
    far: int = 0
    events: tuple[int, ...] = ()
    skipped: dict[str, int] = {}


class KindRecord(_Record):
    """One kind of traffic.

    Attributes:
        name, summary, who: what it is, and of whom.
        attack: the attack of the harness, if one is behind it.
        clients: a record for each client.
        reached_bare: the share of the images that reach their target on the bare model.
        wrong: the share of the answers that are wrong: to the result of a search, undisguised, on
            fresh draws, and otherwise to the posts.
    """

    name: str
    summary: str
    who: Who
    attack: str | None
    clients: tuple[ClientRecord, ...]
    reached_bare: float | None
    wrong: float

    @property
    def posts(self) -> int:
        """How many images all clients posted."""
        return sum(each.posts for each in self.clients)

    @property
    def different(self) -> int:
        """How many of these were not bit-identical to an image of the client's window."""
        return self.posts - sum(each.skipped.get("identical", 0) for each in self.clients)

    @property
    def noticed(self) -> float:
        """The share of the posts that at least one signal flagged or found far."""
        return _share((each.noticed for each in self.clients), self.posts)

    @property
    def clients_with_event(self) -> int:
        """How many clients raised an event."""
        return sum(bool(each.events) for each in self.clients)

    def flagged(self, signal: str) -> float:
        """The share of the posts that a signal flagged."""
        return _share((each.flagged.get(signal, 0) for each in self.clients), self.posts)

    def firsts(self, signal: str) -> list[int]:
        """For each client that a signal flagged the number of the first such post."""
        return sorted(each.first[signal] for each in self.clients if signal in each.first)

    @property
    def far(self) -> float | None:
        """The share of the images over squeeze's threshold; None if none was inferred again."""
        squeezed = sum(each.squeezed for each in self.clients)
        return _share((each.far for each in self.clients), squeezed) if squeezed else None


class Measurement(_Record):
    """All kinds of traffic on one server.

    Attributes:
        model, model_sha256, defense: what is served.
        dataset: the photographs; ``selected`` of them are attacked with gradients.
        limit, posts, seed: the options of the command.
        versions: of Python and of the packages that matter.
        kinds: the kinds of traffic.
    """

    format: Literal[1] = 1
    model: str
    model_sha256: str | None
    defense: str
    dataset: DatasetRecord
    limit: int
    posts: int
    seed: int
    versions: dict[str, str]
    kinds: tuple[KindRecord, ...]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file.

        Raises:
            RunError: it cannot be read, or is not such a file.
        """
        try:
            return cls.model_validate_json(path.read_bytes())
        except OSError as error:
            raise RunError(f"{path} cannot be read: {error.strerror}.") from None
        except ValidationError:
            raise RunError(f"{path} was not written by warpguard-harness signals.") from None

    def write(self, folder: Path) -> Path:
        """Write ``signals.json`` into a folder, and return its path."""
        path = folder / FILE
        write(path, (self.model_dump_json(indent=1) + "\n").encode())
        return path


def _share(counts: Iterable[int], total: int) -> float:
    return sum(counts) / total if total else 0.0
