"""The attack on an endpoint of which it sees the class alone.

ART's HopSkipJump is not used, as it is for classifiers that answer the same twice: its step search
has no end where the boundary moves, an answer that changed makes it begin again from nothing, its
start is drawn from a generator that cannot be seeded, and it posts what only its log shows.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker, numpy_random
from harness.budget import as_pixels, l2_rms, linf, to_8_bits
from harness.errors import AttackError
from harness.types import Case, Pixels, State, Victim

_STARTS = 100
"""How many images of noise are tried as a start."""
_HALVINGS = 10
_POSTED = 32
"""How many images are posted at once for a normal; they are big."""


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack):
    """Along the boundary to the photograph: a step along the estimated normal, then bisection.

    It begins far away, at an image that has the wanted class already, and comes nearer. Untargeted
    by default, since any noise is some other class; with a target it begins at another photograph
    of that class among those attacked together, as an attacker with a folder of photographs would,
    or else at noise, which is hardly ever of the target: then it stays where it is.

    What it gives is its point on the boundary, cut to the budget, or carried on to the budget's end
    if that has the wanted class too.

    On a random defence each answer may be wrong. It is the most frequent of ``draws`` answers, both
    searches have an end, and where no step is confirmed the point goes half-way back to the start.

    Attributes:
        directions: how many images the first normal is estimated by; the t-th by √t times as many.
        probe: how far from the point they are, as a share of its distance.
        draws: how many answers are asked for each image.
        quantized: post images of 8 bits, as image files are; the probes are then no nearer than
            1/255 for each value.
    """

    name: ClassVar[str] = "hopskipjump"
    summary: ClassVar[str] = "Along the boundary, by the endpoint's classes alone"
    reference: ClassVar[str] = "Chen et al. 2020, arXiv:1904.02144"
    needs_gradients: ClassVar[bool] = False

    rounds: int = 20
    targeted: bool = False
    directions: int = 100
    probe: float = 0.01
    draws: int = 1
    quantized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        for parameter in ("directions", "draws"):
            value = getattr(self, parameter)
            if value < 1:
                raise AttackError(f"{self.name}: {parameter} are 1 or more, not {value!r}.")
        if not 0 < self.probe <= 1:
            raise AttackError(f"{self.name}: probe is in (0, 1], not {self.probe!r}.")

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """One normal, one step and one bisection for each photograph."""
        searches = [
            _BoundarySearch(self, case, state, numpy_random(attacker, case, state.round + 1))
            for case, state in zip(cases, states, strict=True)
        ]
        batch = _Batch(self, attacker.victim)
        if states[0].round == 0:
            batch.begin(searches, cases)
        begun = [search for search in searches if search.start is not None]
        if begun:
            if states[0].round == 0:
                batch.approach(begun)
            batch.step(begun)
            batch.approach(begun)
            batch.finish(begun)
        return [search.after() for search in searches]


class _BoundarySearch:
    """One photograph's way."""

    def __init__(
        self, attack: HopSkipJump, case: Case, state: State, generator: np.random.Generator
    ) -> None:
        self._attack, self.case, self._state, self.generator = attack, case, state, generator
        self.number, self.queries = state.round + 1, state.queries
        self.result = state.adversarial
        self.start: Pixels | None = state.memory.get("start")
        self.point: Pixels = state.memory.get("point", case.image)

    @property
    def distance(self) -> float:
        """From the photograph: the largest change, or for l2 the root of the sum."""
        change = self.point - self.case.image
        if self._attack.norm == "linf":
            return linf(change)
        return l2_rms(change) * float(np.sqrt(change.size))

    def between(self, share: float) -> Pixels:
        """An image between the photograph (0) and the point (1)."""
        clean = self.case.image
        if self._attack.norm == "l2":
            mixed: Pixels = clean + np.float32(share) * (self.point - clean)
            return mixed
        limit = np.float32(share * self.distance)
        return np.clip(self.point, clean - limit, clean + limit)

    def outermost(self) -> Pixels:
        """In the direction of the point, at the budget's end."""
        clean, budget = self.case.image, self._attack.budget
        change = self.point - clean
        size = budget.size(change)
        factor = np.float32(max(budget.epsilon / size, 1.0) if size else 1.0)
        return budget.project(clean, clean + factor * change)

    def half_way_back(self) -> Pixels:
        """Between the point and the start."""
        start = self.point if self.start is None else self.start
        return (self.point + start) / np.float32(2)

    def after(self) -> State:
        """One round further; without a start it has stayed at the photograph."""
        if self.start is None:
            return self._state.advanced(self.result, queries=self.queries)
        memory = {"start": self.start, "point": self.point}
        return self._state.advanced(self.result, queries=self.queries, memory=memory)


class _Batch:
    """Walks side by side, so that they post together."""

    def __init__(self, attack: HopSkipJump, victim: Victim) -> None:
        self._attack, self._victim = attack, victim

    def _as_posted(self, image: Pixels) -> Pixels:
        image = np.clip(image, 0, 1).astype(np.float32)
        return as_pixels(to_8_bits(image)) if self._attack.quantized else image

    def _wanted(
        self, searches: Sequence[_BoundarySearch], images: Sequence[Pixels]
    ) -> NDArray[np.bool_]:
        """Whether each image has a class that its search wants, by most of the answers."""
        draws = self._attack.draws
        posted = [to_8_bits(image) if self._attack.quantized else image for image in images]
        answers = self._victim.classes([image for image in posted for _ in range(draws)])
        wanted = []
        for search, row in zip(searches, answers.reshape(-1, draws), strict=True):
            search.queries += draws
            most = int(np.bincount(row).argmax())
            wanted.append(
                most == search.case.goal if self._attack.targeted else most != search.case.label
            )
        return np.array(wanted)

    def begin(self, searches: Sequence[_BoundarySearch], cases: Sequence[Case]) -> None:
        """Find an image that has the wanted class already."""
        own = {
            search.case.file: [
                case.image
                for case in cases
                if self._attack.targeted and case.label == search.case.goal
            ]
            for search in searches
        }
        for _ in range(_STARTS):
            searches = [search for search in searches if search.start is None]
            if not searches:
                return
            images = [
                self._as_posted(
                    own[search.case.file].pop(0)
                    if own[search.case.file]
                    else search.generator.random(search.case.image.shape, dtype=np.float32)
                )
                for search in searches
            ]
            for search, image, wanted in zip(
                searches, images, self._wanted(searches, images), strict=True
            ):
                if wanted:
                    search.start = search.point = image

    def approach(self, searches: Sequence[_BoundarySearch]) -> None:
        """Bisection towards the photograph, as exact as a hundredth of a value's share."""
        low, high = np.zeros(len(searches)), np.ones(len(searches))
        for _ in range(int(np.ceil(np.log2(100 * np.sqrt(searches[0].case.image.size))))):
            middle = (low + high) / 2
            images = [
                self._as_posted(search.between(share))
                for search, share in zip(searches, middle, strict=True)
            ]
            wanted = self._wanted(searches, images)
            low, high = np.where(wanted, low, middle), np.where(wanted, middle, high)
        for search, share in zip(searches, high, strict=True):
            search.point = self._as_posted(search.between(share))

    def step(self, searches: Sequence[_BoundarySearch]) -> None:
        """Along the normal, half as far until the wanted class is kept."""
        directions = [self._normal(search) for search in searches]
        steps = [search.distance / search.number**0.5 for search in searches]
        todo = list(range(len(searches)))
        for _ in range(_HALVINGS):
            images = [
                self._as_posted(searches[i].point + np.float32(steps[i]) * directions[i])
                for i in todo
            ]
            wanted = self._wanted([searches[i] for i in todo], images)
            for i, image, kept in zip(todo, images, wanted, strict=True):
                steps[i] /= 2
                if kept:
                    searches[i].point = image
            todo = [i for i, kept in zip(todo, wanted, strict=True) if not kept]
            if not todo:
                return
        for i in todo:
            searches[i].point = self._as_posted(searches[i].half_way_back())

    def _normal(self, search: _BoundarySearch) -> Pixels:
        """The boundary's, by the answers to images around the point (equations 9 and 12)."""
        shape, linear = search.point.shape, self._attack.norm == "linf"
        radius = self._attack.probe * l2_rms(search.point - search.case.image)
        if self._attack.quantized:
            radius = max(radius, 1 / 255)
        left = int(self._attack.directions * search.number**0.5)
        total, signed = np.zeros(shape), np.zeros(shape)
        count, signs = left, 0.0
        while left:
            changes, images = [], []
            for _ in range(min(left, _POSTED)):
                noise = (
                    search.generator.uniform(-1, 1, shape)
                    if linear
                    else search.generator.standard_normal(shape)
                ).astype(np.float32)
                images.append(
                    self._as_posted(search.point + np.float32(radius / l2_rms(noise)) * noise)
                )
                changes.append(images[-1] - search.point)
            left -= len(images)
            for change, wanted in zip(
                changes, self._wanted([search] * len(images), images), strict=True
            ):
                sign = 1.0 if wanted else -1.0
                total, signed, signs = total + change, signed + sign * change, signs + sign
        mean = signs / count
        normal = mean * total if abs(mean) == 1 else signed - mean * total
        if linear:
            return np.sign(normal).astype(np.float32)
        length = float(np.sqrt(np.square(normal).sum()))
        return (normal / (length or 1.0)).astype(np.float32)

    def finish(self, searches: Sequence[_BoundarySearch]) -> None:
        """What is posted of the point."""
        images = [self._as_posted(search.outermost()) for search in searches]
        for search, image, wanted in zip(
            searches, images, self._wanted(searches, images), strict=True
        ):
            best = image if wanted else search.point
            search.result = self._attack.budget.project(search.case.image, best)
