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
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Literal, Self

import numpy as np

from harness.budget import Budget
from harness.errors import AttackError
from harness.surrogate.surrogate import Surrogate
from harness.types import Case, State, Victim


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
