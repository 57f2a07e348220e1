"""The one protocol of all attacks: begin on a photograph, then advance round by round.

::

    state  = attack.begin(case, attacker)             # round 0
    states = attack.advance(cases, states, attacker)  # one round further, many photographs at once

An attack is a frozen dataclass whose fields are its parameters. What it has done so far is an
explicit :class:`State`, so a run can be stopped after any round and taken up again; what is random
comes from :meth:`Attacker.random`, so it can be repeated.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from random import Random
from typing import Any, ClassVar, Literal, Protocol, Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from harness.budget import Budget
from harness.errors import AttackError
from harness.surrogate.surrogate import Surrogate

Pixels: TypeAlias = NDArray[np.float32]
"""``(H, W, 3)`` RGB in [0, 1]."""
Posted: TypeAlias = NDArray[np.uint8] | NDArray[np.float32]
"""What goes to an endpoint: ``(H, W, 3)``, ``uint8`` in [0, 255] or ``float32`` in [0, 1]."""


@dataclass(frozen=True)
class Case:
    """One photograph to attack.

    Attributes:
        file: its name in the dataset.
        image: its pixels at the model's size.
        label: the true class.
        target: the class that the attacker wants; None for any wrong one.
    """

    file: str
    image: Pixels
    label: int
    target: int | None

    @property
    def goal(self) -> int:
        """The class that a loss is about: the target, or without one, the label."""
        return self.label if self.target is None else self.target


@dataclass(frozen=True)
class State:
    """How far an attack on one photograph has come.

    Attributes:
        adversarial: the current iterate, inside the budget.
        round: how many rounds were done.
        memory: what the attack keeps besides, such as its momentum.
        gradients, queries: what was spent so far; each draw, each posted image counts as one.
        zero_gradients, nonfinite_gradients: how many rounds had such a gradient.
    """

    adversarial: Pixels
    round: int = 0
    memory: dict[str, NDArray[Any]] = field(default_factory=dict)
    gradients: int = 0
    queries: int = 0
    zero_gradients: int = 0
    nonfinite_gradients: int = 0

    def advanced(self, adversarial: Pixels, **changes: Any) -> Self:
        """The state one round further."""
        return replace(self, adversarial=adversarial, round=self.round + 1, **changes)


class Victim(Protocol):
    """What is asked about images: an endpoint, or a surrogate that stands for one."""

    def classes(self, images: Sequence[Posted]) -> NDArray[np.intp]:
        """The most probable class of each image, each on a fresh draw: ``(n,)``."""
        ...

    def probabilities(self, images: Sequence[Posted], draws: int = 1) -> NDArray[np.float32]:
        """The mean over fresh draws of the classes' probabilities: ``(n, classes)``."""
        ...


@dataclass(frozen=True)
class Attacker:
    """What an attacker may ask.

    Attributes:
        surrogate: the model and the defence, differentiable; None where only the endpoint is known.
        victim: the endpoint.
        seed: of the attacker's own randomness.
    """

    surrogate: Surrogate | None
    victim: Victim
    seed: int = 0

    def random(self, case: Case, round_: int) -> Random:
        """The attacker's randomness for one round on one photograph: the same in every run."""
        return Random(f"{self.seed}/{case.file}/{round_}")

    def gradients_of(self, attack: "Attack") -> Surrogate:
        """The surrogate.

        Raises:
            AttackError: there is none.
        """
        if self.surrogate is None:
            raise AttackError(f"{attack.name} needs gradients, and the endpoint alone has none.")
        return self.surrogate


def numpy_random(attacker: Attacker, case: Case, round_: int) -> np.random.Generator:
    """:meth:`Attacker.random` for arrays."""
    return np.random.default_rng(attacker.random(case, round_).getrandbits(64))


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A way from a photograph to an adversarial example.

    Attributes:
        name: what the command line calls it.
        summary: what it does, in one line.
        reference: the paper it is from.
        on_bare_model: whether it attacks the undefended model, and is posted afterwards.
        rounds: how often :meth:`advance` is called.
        norm, epsilon: the budget. ``l2`` is the root mean square over all values in [0, 1].
        targeted: whether it wants the case's target, or any wrong class.
        early_stop: post the iterate once after each round, and leave it at its first success, as
            the paper's loops do. An image that was hit once may not fall again.
    """

    name: ClassVar[str]
    summary: ClassVar[str]
    reference: ClassVar[str]
    on_bare_model: ClassVar[bool] = False
    needs_gradients: ClassVar[bool] = True

    rounds: int = 50
    norm: Literal["l2", "linf"] = "l2"
    epsilon: float = 0.05
    targeted: bool = True
    early_stop: bool = False

    def __post_init__(self) -> None:
        if self.norm not in ("l2", "linf"):
            raise AttackError(f"{self.name}: norm is l2 or linf, not {self.norm!r}.")
        if not 0 < self.epsilon <= 1:
            raise AttackError(f"{self.name}: epsilon is in (0, 1], not {self.epsilon!r}.")
        if not 1 <= self.rounds <= 100_000:
            raise AttackError(f"{self.name}: rounds are 1 to 100000, not {self.rounds!r}.")

    @property
    def budget(self) -> Budget:
        """How far the posted image may be from the photograph."""
        return Budget(self.norm, self.epsilon)

    def begin(self, case: Case, attacker: Attacker) -> State:
        """Where the attack starts: by default at the photograph."""
        del attacker
        return State(case.image.copy())

    @abstractmethod
    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """One round on each photograph; all states are of the same round.

        Raises:
            AttackError: the attacker has not what the attack needs.
        """

    def with_epsilon(self, epsilon: float) -> Self:
        """The same attack with another budget, its steps in proportion where they have one."""
        return replace(self, epsilon=epsilon)

    def with_more_iterations(self, factor: int) -> Self:
        """The same attack with more iterations."""
        return replace(self, rounds=self.rounds * factor)


def run(attack: Attack, cases: Sequence[Case], attacker: Attacker) -> list[State]:
    """All rounds of an attack, without keeping anything."""
    states = [attack.begin(case, attacker) for case in cases]
    for _ in range(attack.rounds):
        states = attack.advance(cases, states, attacker)
    return states
