"""The protocol of all attacks: begin on a photograph, then advance round by round.

::

    state  = attack.begin(case, attacker)             # round 0
    states = attack.advance(cases, states, attacker)  # one more round, on many photographs at once

An attack is a frozen dataclass whose fields are its parameters. Its progress is an explicit
:class:`State`, so a run can be stopped and resumed after any round. Its randomness comes from
:meth:`Attacker.random`, so a run can be repeated.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random
from typing import ClassVar, Literal, Self, get_args, get_origin, get_type_hints

import numpy as np

from harness.budget import Budget
from harness.errors import AttackError
from harness.surrogate.replica import Replica
from harness.surrogate.surrogate import Surrogate
from harness.types import Case, State, Victim


@dataclass(frozen=True)
class Attacker:
    """What an attack can use: a surrogate, an endpoint and randomness.

    Attributes:
        surrogate: the model and the defence, differentiable for an attack that needs gradients;
            None if only the endpoint is known.
        victim: the endpoint.
        seed: the seed of the attacker's own randomness.
    """

    surrogate: Replica | None
    victim: Victim
    seed: int = 0

    def random(self, case: Case, round_: int) -> Random:
        """Return the randomness of one round on one photograph: the same in every run."""
        return Random(f"{self.seed}/{case.file}/{round_}")

    def numpy_random(self, case: Case, round_: int) -> np.random.Generator:
        """Return the randomness of :meth:`random` as a generator of arrays."""
        return np.random.default_rng(self.random(case, round_).getrandbits(64))

    def surrogate_for(self, attack: "Attack") -> Surrogate:
        """Return the surrogate for an attack that needs gradients.

        Raises:
            AttackError: the attacker has no surrogate that can be differentiated.
        """
        if not isinstance(self.surrogate, Surrogate):
            raise AttackError(f"{attack.name} needs gradients, but this attacker has no surrogate.")
        return self.surrogate


@dataclass(frozen=True, kw_only=True)
class Attack(ABC):
    """A way from a photograph to an adversarial example.

    Attributes:
        name: the name of the attack on the command line.
        summary: what it does, in one line.
        reference: the paper that it comes from.
        on_bare_model: whether it attacks the undefended model. The result is then posted.
        needs_gradients: whether it needs a surrogate.
        rounds: how often :meth:`advance` is called.
        norm, epsilon: the budget. ``l2`` is the root mean square over all values in [0, 1].
        targeted: whether it aims at the case's target, or at any wrong class.
        early_stop: whether to post the iterate once after each round, and to stop at the first
            success, as the paper's loops do. On another draw such an image may not succeed.
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
        for parameter, type_ in get_type_hints(type(self)).items():
            if get_origin(type_) is Literal:
                names = get_args(type_)
                allowed = getattr(self, parameter) in names
                self._require(allowed, parameter, f"one of {', '.join(names)}")
        self._require(0 < self.epsilon <= 1, "epsilon", "in (0, 1]")
        self._require(1 <= self.rounds <= 100_000, "rounds", "1 to 100000")

    def _require(self, allowed: bool, parameter: str, values: str) -> None:
        """Unless its value is allowed, raise an error with the values that a parameter may have."""
        if not allowed:
            value = getattr(self, parameter)
            raise AttackError(f"{self.name}: {parameter} must be {values}, not {value!r}.")

    @property
    def budget(self) -> Budget:
        """How far the posted image may be from the photograph."""
        return Budget(self.norm, self.epsilon)

    def begin(self, case: Case, attacker: Attacker) -> State:
        """Return the state before the first round: by default the photograph itself."""
        del attacker
        return State(case.image.copy())

    @abstractmethod
    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Do one round on each photograph. All states must be of the same round.

        Raises:
            AttackError: the attacker lacks something that the attack needs.
        """

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack with another budget, and with its step size scaled if it has one."""
        return replace(self, epsilon=epsilon)

    def with_more_iterations(self, factor: int) -> Self:
        """Return the attack with ``factor`` times as many iterations."""
        return replace(self, rounds=self.rounds * factor)


def run(attack: Attack, cases: Sequence[Case], attacker: Attacker) -> list[State]:
    """Do all rounds of an attack, and store nothing."""
    states = [attack.begin(case, attacker) for case in cases]
    for _ in range(attack.rounds):
        states = attack.advance(cases, states, attacker)
    return states
