"""The attack on an endpoint that returns only a class.

ART's HopSkipJump is not used, because it expects a classifier whose answers do not change. On a
random defence its step search may never end, and a changed answer makes it start from scratch. Its
start comes from a generator that cannot be seeded, and it reports its queries only in its log.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker
from harness.budget import as_pixels, l2_rms, linf, to_8_bits
from harness.types import Case, Pixels, State, Victim

_START_ATTEMPTS = 100
"""How many images are tried as a start."""
_HALVINGS = 10
_PROBES_AT_ONCE = 32
"""How many probes of a normal are posted at once, because they take much memory."""


@dataclass(frozen=True, kw_only=True)
class HopSkipJump(Attack):
    """Move along the decision boundary towards the photograph, by normals and bisections.

    The attack starts at a distant image of the wanted class and comes nearer. It is untargeted by
    default, because almost any noise has a wrong class. With a target it starts at a photograph of
    that class among those attacked together, as an attacker with a folder of photographs would.
    Without such a photograph it tries noise, which hardly ever has the target's class; if none has,
    it stays at the photograph.

    The result is the point on the boundary, projected onto the budget. The image in the same
    direction at the edge of the budget is taken instead if it has the wanted class.

    On a random defence each answer may be wrong. An answer is therefore the most frequent of
    ``draws`` answers, both searches are bounded, and if no step is confirmed, the point moves half
    of the way back to the start.

    Attributes:
        directions: how many probes estimate the first normal; the t-th takes √t times as many.
        probe: the distance of the probes from the point, as a fraction of the point's distance.
        draws: how many answers are taken for each image.
        quantized: whether images are posted with 8 bits, as image files have them. Probes are then
            at least 1/255 (root mean square) away.
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
        self._require(self.directions >= 1, "directions", "1 or more")
        self._require(self.draws >= 1, "draws", "1 or more")
        self._require(0 < self.probe <= 1, "probe", "in (0, 1]")

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Estimate a normal, make a step and bisect, for all photographs side by side."""
        victim = attacker.victim
        searches = [
            _BoundarySearch(self, case, state, attacker.numpy_random(case, state.round + 1))
            for case, state in zip(cases, states, strict=True)
        ]
        if states[0].round == 0:
            self._begin(searches, cases, victim)
        started = [search for search in searches if search.start is not None]
        if started:
            if states[0].round == 0:
                self._bisect(started, victim)
            self._step(started, victim)
            self._bisect(started, victim)
            self._finish(started, victim)
        return [search.state for search in searches]

    def _begin(
        self, searches: Sequence["_BoundarySearch"], cases: Sequence[Case], victim: Victim
    ) -> None:
        """Find a start for each search: an image that already has the wanted class."""
        photographs = {
            search.case.file: [
                case.image for case in cases if self.targeted and case.label == search.case.goal
            ]
            for search in searches
        }
        for _ in range(_START_ATTEMPTS):
            searches = [search for search in searches if search.start is None]
            if not searches:
                return
            images = [
                self._as_posted(
                    photographs[search.case.file].pop(0)
                    if photographs[search.case.file]
                    else search.generator.random(search.case.image.shape, dtype=np.float32)
                )
                for search in searches
            ]
            wanted = self._are_wanted(searches, images, victim)
            for search, image, is_wanted in zip(searches, images, wanted, strict=True):
                if is_wanted:
                    search.start = search.point = image

    def _bisect(self, searches: Sequence["_BoundarySearch"], victim: Victim) -> None:
        """Move each point of n values to the boundary, to within 1 / (100 √n) of its distance."""
        low, high = np.zeros(len(searches)), np.ones(len(searches))
        for _ in range(int(np.ceil(np.log2(100 * np.sqrt(searches[0].case.image.size))))):
            middle = (low + high) / 2
            images = [
                self._as_posted(search.between(fraction))
                for search, fraction in zip(searches, middle, strict=True)
            ]
            wanted = self._are_wanted(searches, images, victim)
            low, high = np.where(wanted, low, middle), np.where(wanted, middle, high)
        for search, fraction in zip(searches, high, strict=True):
            search.point = self._as_posted(search.between(fraction))

    def _step(self, searches: Sequence["_BoundarySearch"], victim: Victim) -> None:
        """Move each point along its normal. Halve the step until the point has the wanted class."""
        normals = [self._normal(search, victim) for search in searches]
        lengths = [search.distance / search.round**0.5 for search in searches]
        remaining = list(range(len(searches)))
        for _ in range(_HALVINGS):
            images = [
                self._as_posted(searches[i].point + np.float32(lengths[i]) * normals[i])
                for i in remaining
            ]
            wanted = self._are_wanted([searches[i] for i in remaining], images, victim)
            for i, image, is_wanted in zip(remaining, images, wanted, strict=True):
                lengths[i] /= 2
                if is_wanted:
                    searches[i].point = image
            remaining = [i for i, done in zip(remaining, wanted, strict=True) if not done]
            if not remaining:
                return
        for i in remaining:
            searches[i].point = self._as_posted(searches[i].half_way_back())

    def _normal(self, search: "_BoundarySearch", victim: Victim) -> Pixels:
        """Estimate the boundary's normal by probes around the point (equations 9 and 12)."""
        shape, linear = search.point.shape, self.norm == "linf"
        radius = self.probe * l2_rms(search.point - search.case.image)
        if self.quantized:
            radius = max(radius, 1 / 255)
        count = remaining = int(self.directions * search.round**0.5)
        total, signed, signs = np.zeros(shape), np.zeros(shape), 0.0
        while remaining:
            probes = []
            for _ in range(min(remaining, _PROBES_AT_ONCE)):
                noise = (
                    search.generator.uniform(-1, 1, shape)
                    if linear
                    else search.generator.standard_normal(shape)
                ).astype(np.float32)
                probe = search.point + np.float32(radius / l2_rms(noise)) * noise
                probes.append(self._as_posted(probe))
            remaining -= len(probes)
            wanted = self._are_wanted([search] * len(probes), probes, victim)
            for probe, is_wanted in zip(probes, wanted, strict=True):
                change, sign = probe - search.point, 1.0 if is_wanted else -1.0
                total, signed, signs = total + change, signed + sign * change, signs + sign
        mean = signs / count
        normal = mean * total if abs(mean) == 1 else signed - mean * total
        if linear:
            return np.sign(normal).astype(np.float32)
        length = float(np.sqrt(np.square(normal).sum()))
        return (normal / (length or 1.0)).astype(np.float32)

    def _finish(self, searches: Sequence["_BoundarySearch"], victim: Victim) -> None:
        """Choose the result of each search, inside the budget."""
        images = [self._as_posted(search.at_budget_edge()) for search in searches]
        wanted = self._are_wanted(searches, images, victim)
        for search, image, is_wanted in zip(searches, images, wanted, strict=True):
            best = image if is_wanted else search.point
            search.result = self.budget.project(search.case.image, best)

    def _are_wanted(
        self, searches: Sequence["_BoundarySearch"], images: Sequence[Pixels], victim: Victim
    ) -> NDArray[np.bool_]:
        """Post an image for each search. Return whether its most frequent class is a wanted one."""
        posted = [to_8_bits(image) if self.quantized else image for image in images]
        answers = victim.classes([image for image in posted for _ in range(self.draws)])
        wanted = []
        for search, row in zip(searches, answers.reshape(-1, self.draws), strict=True):
            search.queries += self.draws
            most = int(np.bincount(row).argmax())
            wanted.append(most == search.case.goal if self.targeted else most != search.case.label)
        return np.array(wanted)

    def _as_posted(self, image: Pixels) -> Pixels:
        image = np.clip(image, 0, 1).astype(np.float32)
        return as_pixels(to_8_bits(image)) if self.quantized else image


class _BoundarySearch:
    """The search on one photograph: the fields of its :class:`State`, changed during one round."""

    def __init__(
        self, attack: HopSkipJump, case: Case, state: State, generator: np.random.Generator
    ) -> None:
        self._attack, self.case, self._before, self.generator = attack, case, state, generator
        self.round, self.queries = state.round + 1, state.queries
        self.result = state.adversarial
        self.start: Pixels | None = state.memory.get("start")
        self.point: Pixels = state.memory.get("point", case.image)

    @property
    def distance(self) -> float:
        """The distance of the point: the largest change, or for l2 the root of the squares' sum."""
        change = self.point - self.case.image
        if self._attack.norm == "linf":
            return linf(change)
        return l2_rms(change) * float(np.sqrt(change.size))

    def between(self, fraction: float) -> Pixels:
        """Return an image between the photograph (0) and the point (1)."""
        clean = self.case.image
        if self._attack.norm == "l2":
            mixed: Pixels = clean + np.float32(fraction) * (self.point - clean)
            return mixed
        limit = np.float32(fraction * self.distance)
        return np.clip(self.point, clean - limit, clean + limit)

    def at_budget_edge(self) -> Pixels:
        """Return the image at the edge of the budget, in the direction of the point."""
        clean, budget = self.case.image, self._attack.budget
        change = self.point - clean
        size = budget.size(change)
        factor = np.float32(max(budget.epsilon / size, 1.0) if size else 1.0)
        return budget.project(clean, clean + factor * change)

    def half_way_back(self) -> Pixels:
        """Return the image half-way between the point and the start."""
        start = self.point if self.start is None else self.start
        return (self.point + start) / np.float32(2)

    @property
    def state(self) -> State:
        """The state after this round. A search without a start stays at the photograph."""
        if self.start is None:
            return self._before.advanced(self.result, queries=self.queries)
        memory = {"start": self.start, "point": self.point}
        return self._before.advanced(self.result, queries=self.queries, memory=memory)
