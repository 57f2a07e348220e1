"""Gradient steps inside the budget: one implementation of BPDA, EOT and the exact attack."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker
from harness.surrogate.losses import Loss
from harness.surrogate.surrogate import Knowledge
from harness.types import Case, Pixels, State

_JUDGING_DRAWS = 16
"""Over how many draws the loss of each attempt is averaged to choose the best one."""


@dataclass(frozen=True, kw_only=True)
class GradientAttack(Attack):
    """Gradient steps, each projected onto the budget.

    Attributes:
        knowledge: what the attacker knows of the defence; see :mod:`harness.surrogate.surrogate`.
        loss: ``cross-entropy``, ``logit`` (does not saturate; Zhao et al. 2021) or ``margin``.
        rule: the kind of step. ``l2`` has the root mean square ``step``, ``sign`` changes each
            value by ``step``, ``raw`` is ``step`` times the gradient, as in the paper's loops.
        step: the size of a step.
        draws: over how many draws of the defence a gradient is averaged (EOT).
        momenta: the damping of each velocity. The direction is the mean of the velocities: a single
            0 is plain descent, a single 0.9 momentum, 0/0.9/0.99 AggMo (Lucas et al. 2019).
        random_start: whether to start at a random point of the budget.
        restarts: into how many attempts the rounds are divided. The attempt with the lowest loss on
            fresh draws counts.
    """

    name: ClassVar[str] = "gradient"
    summary: ClassVar[str] = "Iterated gradient steps"
    reference: ClassVar[str] = "Madry et al. 2018, arXiv:1706.06083"

    knowledge: Knowledge = "exact"
    loss: Loss = "cross-entropy"
    rule: Literal["l2", "sign", "raw"] = "l2"
    step: float = 0.004
    draws: int = 10
    momenta: tuple[float, ...] = (0.0,)
    random_start: bool = False
    restarts: int = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.draws >= 1, "draws", "1 or more")
        self._require(self.restarts >= 1, "restarts", "1 or more")
        divides = self.rounds % self.restarts == 0
        self._require(divides, "rounds", f"a multiple of restarts, which is {self.restarts}")
        self._require(self.step > 0, "step", "positive")
        inside = bool(self.momenta) and all(0 <= each < 1 for each in self.momenta)
        self._require(inside, "momenta", "in [0, 1), such as 0/0.9/0.99")

    def with_epsilon(self, epsilon: float) -> Self:
        """Return the attack with another budget. Its step is scaled, unless the rule is ``raw``."""
        step = self.step if self.rule == "raw" else self.step * epsilon / self.epsilon
        return replace(self, epsilon=epsilon, step=step)

    def begin(self, case: Case, attacker: Attacker) -> State:
        """Return the state at the photograph, or at a random point of the budget."""
        return State(self._start(case, attacker, 0))

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Make one step on each photograph."""
        surrogate = attacker.surrogate_for(self)
        found = surrogate.gradients(
            [state.adversarial for state in states],
            [case.goal if self.targeted else case.label for case in cases],
            [
                attacker.random(case, state.round + 1)
                for case, state in zip(cases, states, strict=True)
            ],
            knowledge=self.knowledge,
            loss=self.loss,
            draws=self.draws,
            targeted=self.targeted,
        )
        spent = self.draws if surrogate.is_random(self.knowledge) else 1
        after = [
            self._stepped(case, state, gradient, spent)
            for case, state, gradient in zip(cases, states, found.values, strict=True)
        ]
        if self.restarts > 1 and after[0].round % (self.rounds // self.restarts) == 0:
            after = self._restarted(cases, after, attacker)
        return after

    def _stepped(
        self, case: Case, state: State, gradient: NDArray[np.float32], spent: int
    ) -> State:
        finite = bool(np.isfinite(gradient).all())
        if not finite:
            gradient = np.nan_to_num(gradient, nan=0.0, posinf=0.0, neginf=0.0)
        scale = 1.0 if self.rule == "raw" else float(np.abs(gradient).mean())
        memory = dict(state.memory)
        direction = np.zeros_like(gradient)
        for number, momentum in enumerate(self.momenta):
            velocity = gradient / np.float32(scale or 1.0)
            if momentum:
                key = f"velocity_{number}"
                velocity += np.float32(momentum) * memory.get(key, np.float32(0))
                memory[key] = velocity
            direction += velocity / len(self.momenta)
        moved = self.budget.project(case.image, state.adversarial - self._length(direction))
        return state.advanced(
            moved,
            memory=memory,
            gradients=state.gradients + spent,
            zero_gradients=state.zero_gradients + (finite and scale == 0.0),
            nonfinite_gradients=state.nonfinite_gradients + (not finite),
        )

    def _length(self, direction: NDArray[np.float32]) -> NDArray[Any]:
        step = np.float32(self.step)
        if self.rule == "sign":
            return step * np.sign(direction)
        if self.rule == "l2":
            return step * direction / np.float32(np.sqrt(np.mean(direction**2)) or 1.0)
        return step * direction

    def _start(self, case: Case, attacker: Attacker, round_: int) -> Pixels:
        if not self.random_start:
            return case.image.copy()
        generator = attacker.numpy_random(case, round_)
        noise = generator.uniform(-1, 1, case.image.shape).astype(np.float32)
        noise *= np.float32(self.epsilon / self.budget.size(noise))
        return self.budget.project(case.image, case.image + noise)

    def _restarted(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Keep the best attempt so far, and start the next one or end with the best one."""
        surrogate = attacker.surrogate_for(self)
        judged = surrogate.gradients(
            [state.adversarial for state in states],
            [case.goal if self.targeted else case.label for case in cases],
            # Every attempt is judged on the same draws.
            [attacker.random(case, -1) for case in cases],
            knowledge=self.knowledge,
            loss=self.loss,
            draws=_JUDGING_DRAWS,
            targeted=self.targeted,
        )
        after = []
        for case, state, loss in zip(cases, states, judged.losses, strict=True):
            best, best_loss = state.adversarial, float(loss)
            if "best" in state.memory and float(state.memory["best_loss"]) <= best_loss:
                best, best_loss = state.memory["best"], float(state.memory["best_loss"])
            last = state.round == self.rounds
            after.append(
                replace(
                    state,
                    adversarial=best if last else self._start(case, attacker, -2 - state.round),
                    memory={"best": best, "best_loss": np.array(best_loss)},
                    gradients=state.gradients + _JUDGING_DRAWS,
                )
            )
        return after


@dataclass(frozen=True, kw_only=True)
class Bpda(GradientAttack):
    """The paper's own attack, with steps of equal length."""

    name: ClassVar[str] = "bpda"
    summary: ClassVar[str] = "Gradients as if the whole defence were the identity"
    reference: ClassVar[str] = "Athalye et al. 2018, arXiv:1802.00420"

    knowledge: Knowledge = "identity"
    draws: int = 1


@dataclass(frozen=True, kw_only=True)
class BpdaEot(Bpda):
    """BPDA with gradients that are averaged over draws."""

    name: ClassVar[str] = "bpda-eot"
    summary: ClassVar[str] = "BPDA, averaged over draws of the defence"

    draws: int = 30


@dataclass(frozen=True, kw_only=True)
class SemiBruteForce(GradientAttack):
    """EOT with the exact gradients of the random operations alone."""

    name: ClassVar[str] = "semi-brute-force"
    summary: ClassVar[str] = "EOT through the random operations alone, posted to the whole defence"
    reference: ClassVar[str] = "Qiu et al. 2020, arXiv:2005.13712, section VI-D"

    knowledge: Knowledge = "random"
    draws: int = 30


@dataclass(frozen=True, kw_only=True)
class Adaptive(GradientAttack):
    """The exact attack: it differentiates the whole defence, with rounding straight through."""

    name: ClassVar[str] = "adaptive"
    summary: ClassVar[str] = "Exact gradient of the warp, rounding straight through, EOT"
    reference: ClassVar[str] = "Tramèr et al. 2020, arXiv:2002.08347"
