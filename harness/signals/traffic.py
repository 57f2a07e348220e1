"""The protocol of all kinds of traffic, and what they have at hand."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from harness.attacks.attack import Attacker
from harness.dataset import Photograph
from harness.signals.client import Client
from harness.signals.outcome import Who
from harness.surrogate.replica import Replica
from harness.types import Case, OnProgress, Posted, Victim

SEARCHED = 2
"""How many photographs a search attacks, each as a client of its own."""
_SCORING_DRAWS = 16


@dataclass(frozen=True)
class Scene:
    """What a kind of traffic has at hand.

    Attributes:
        photographs: all of the dataset.
        others: those that the bare model gets right, at the model's size, each with a target.
        limit: how many of these are attacked with gradients.
        posts: how many different images a search posts for one photograph, roughly.
        copy: the attacker's copy of the model and its defence; differentiable if a kind of traffic
            needs it.
        seed: of all randomness.
        open: opens a client with a key of its own.
        on_progress: called with the progress of what is not posting.
    """

    photographs: Sequence[Photograph]
    others: Sequence[Case]
    limit: int
    posts: int
    copy: Replica
    seed: int
    open: Callable[[], Client]
    on_progress: OnProgress = lambda *_: None

    @property
    def cases(self) -> Sequence[Case]:
        """The photographs that are attacked with gradients."""
        return self.others[: self.limit]

    @property
    def searched(self) -> list[Case]:
        """The photographs that are searched, for any wrong class."""
        return [Case(c.file, c.image, c.label, None) for c in self.cases[:SEARCHED]]

    def attacker(self, victim: Victim) -> Attacker:
        """Return an attacker of a victim."""
        return Attacker(self.copy, victim, self.seed)

    def client(self, case: Case) -> Client:
        """Open a client that posts versions of one photograph."""
        client = self.open()
        client.label = case.label
        return client

    def random(self, what: str) -> np.random.Generator:
        """Return randomness that is the same in every run."""
        return np.random.default_rng([self.seed, *what.encode()])

    def wrong(self, case: Case, image: Posted) -> float:
        """Return the share of wrong answers to an image, on fresh draws of the copy."""
        return float(np.mean(self.copy.classes([image] * _SCORING_DRAWS) != case.label))


@dataclass(frozen=True)
class Sent:
    """What a kind of traffic knows of its own success; see :class:`KindRecord`."""

    wrong: float | None = None
    reached_bare: float | None = None


@dataclass(frozen=True, kw_only=True)
class Traffic(ABC):
    """A kind of traffic.

    Attributes:
        name: on the command line.
        summary: what is posted, in a few words.
        who: who posts it.
        attack: the specification of the attack behind it. ``{posts}`` stands for the posts, and
            ``{twice}`` for twice as many, for an attack that posts its best image again and again.
        needs_gradients: whether it needs a copy of the model that can be differentiated.
    """

    needs_gradients: ClassVar[bool] = False

    name: str
    summary: str
    who: Who
    attack: str | None = field(default=None)

    @abstractmethod
    def posts(self, scene: Scene) -> int:
        """How many images are posted, roughly."""

    @abstractmethod
    def send(self, scene: Scene) -> Sent:
        """Post the images."""

    def specification(self, scene: Scene) -> str:
        """The attack, with the number of its posts."""
        assert self.attack is not None  # noqa: S101
        return self.attack.format(posts=scene.posts, twice=2 * scene.posts)
