"""The attack on an endpoint that gives probabilities, and nothing else.

ART's Square is not used: it has no targets, posts every image three times for one comparison, puts
the squares of all images at the same place, and draws from numpy's global generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker, numpy_random
from harness.attacks.square_proposals import candidate, share, start
from harness.budget import as_pixels, to_8_bits
from harness.errors import AttackError
from harness.types import Case, Pixels, State

_ASKED = 4
"""How often the photograph is posted: two draws may agree by chance."""
_SAME = 1e-5
"""Scores of one image that differ by more come from a random defence. A model that rounds worse is
taken for one, which costs queries alone; a random one taken for fixed keeps its luckiest draw."""
_KNOWN = 8
"""After so many posts an incumbent's mean score is left as it is."""
_FLOOR = float(np.finfo(np.float32).tiny)
_MOST = 3
"""How many times :meth:`Square._step` posts for one candidate at most."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search: squares of the largest change, each kept where it lowers the score.

    The score is the paper's: without a target the margin of the label, with one the cross-entropy.
    The photograph is posted four times. Where the scores differ, the defence is random, and a lucky
    draw must not be what is kept: a candidate that looks better is posted again, and taken if its
    second score, which nothing was chosen by, is still below the mean over all posts of the
    incumbent; each step adds one to these, until there are eight. The score of a candidate that was
    taken is forgotten, so that its mean, too, is of posts after the choice.

    Attributes:
        rounds: in how many parts the queries are made.
        queries: how many images are posted for one photograph in all, each draw counted.
        draws: over how many posts each score is the mean, where the defence is random.
        first_share: of the pixels, in the first square. The paper has 0.05 for l∞ and 0.1 for l2
            with 10 000 queries; for fewer, 0.8 is AutoAttack's (Croce and Hein 2020,
            arXiv:2003.01690). The schedule of the squares is scaled to the queries, and goes by the
            candidates: among posts that scatter, what a small square does is not seen.
        quantized: post images of 8 bits, as image files are.
    """

    name: ClassVar[str] = "square"
    summary: ClassVar[str] = "Random search by the endpoint's probabilities alone"
    reference: ClassVar[str] = "Andriushchenko et al. 2020, arXiv:1912.00049"
    needs_gradients: ClassVar[bool] = False

    rounds: int = 10
    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 8 / 255
    queries: int = 1000
    draws: int = 10
    first_share: float = 0.8
    quantized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.draws < 1:
            raise AttackError(f"{self.name}: draws are 1 or more, not {self.draws!r}.")
        least = self.rounds * self.draws * 2 * _MOST
        if self.queries < least:
            raise AttackError(
                f"{self.name}: queries are {least} or more, {2 * _MOST} for each draw and round; "
                f"not {self.queries!r}."
            )
        if not 0 < self.first_share <= 1:
            raise AttackError(f"{self.name}: first_share is in (0, 1], not {self.first_share!r}.")

    def with_more_iterations(self, factor: int) -> Self:
        """The same attack with more queries, in more rounds."""
        return replace(self, rounds=self.rounds * factor, queries=self.queries * factor)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """One part of the queries, for all photographs side by side."""
        searches = [
            _Search(case, state, numpy_random(attacker, case, state.round + 1))
            for case, state in zip(cases, states, strict=True)
        ]
        if states[0].round == 0:
            self._begin(searches, attacker)
        draws = self._draws(searches)
        allowed = self.queries * (states[0].round + 1) // self.rounds
        while active := [s for s in searches if s.queries + _MOST * draws <= allowed]:
            self._step(active, attacker, draws)
        return [search.state for search in searches]

    def _begin(self, searches: Sequence["_Search"], attacker: Attacker) -> None:
        """Is the defence random? And the first candidate, which is taken as it is."""
        photographs = [search.case.image for search in searches]
        asked = np.array([self._scores(searches, photographs, attacker, 1) for _ in range(_ASKED)])
        for search, spread in zip(searches, np.ptp(asked, axis=0), strict=True):
            search.random = bool(spread > _SAME)
            search.incumbent = self._as_posted(
                search.case, start(search.case.image, self.budget, search.generator)
            )
        images = [search.incumbent for search in searches]
        scores = self._scores(searches, images, attacker, self._draws(searches))
        for search, score in zip(searches, scores, strict=True):
            search.sum, search.posts = score, 1

    def _draws(self, searches: Sequence["_Search"]) -> int:
        """How often an image is posted for a score: an endpoint is random for all, or for none."""
        return self.draws if any(search.random for search in searches) else 1

    def _step(self, searches: Sequence["_Search"], attacker: Attacker, draws: int) -> None:
        """One candidate for each photograph."""
        images = [
            self._as_posted(
                search.case,
                candidate(
                    search.case.image,
                    search.incumbent,
                    self.budget,
                    share(self.first_share, search.tried / self.queries),
                    search.generator,
                ),
            )
            for search in searches
        ]
        for search in searches:
            search.tried += 1
        asked = [search for search in searches if search.random and search.posts < _KNOWN]
        scores = self._scores(
            [*searches, *asked], [*images, *(search.incumbent for search in asked)], attacker, draws
        )
        for search, score in zip(asked, scores[len(searches) :], strict=True):
            search.sum, search.posts = search.sum + score, search.posts + 1
        better = [
            (search, image, score)
            for search, image, score in zip(searches, images, scores, strict=False)
            if score < search.mean
        ]
        doubtful = [(search, image) for search, image, _ in better if search.random]
        confirmed = self._scores(
            [search for search, _ in doubtful], [image for _, image in doubtful], attacker, draws
        )
        for (search, image), score in zip(doubtful, confirmed, strict=True):
            if score < search.mean:
                search.incumbent, search.sum, search.posts = image, 0.0, 0
        for search, image, score in better:
            if not search.random:
                search.incumbent, search.sum, search.posts = image, score, 1

    def _as_posted(self, case: Case, image: Pixels) -> Pixels:
        return as_pixels(self.budget.post(case.image, image, quantized=self.quantized))

    def _scores(
        self,
        searches: Sequence["_Search"],
        images: Sequence[Pixels],
        attacker: Attacker,
        draws: int,
    ) -> list[float]:
        """What is to become small; each image is posted for the search beside it."""
        if not images:
            return []
        posted = [to_8_bits(image) if self.quantized else image for image in images]
        by_class = attacker.victim.probabilities(posted, draws)
        logs = np.log(np.maximum(by_class, _FLOOR))
        scores = []
        for search, row in zip(searches, logs, strict=True):
            search.queries += draws
            if self.targeted:
                scores.append(float(-row[search.case.goal]))
            else:
                others = np.delete(row, search.case.label)
                scores.append(float(row[search.case.label] - others.max()))
        return scores


class _Search:
    """One photograph's :class:`State`, taken apart for one round."""

    def __init__(self, case: Case, state: State, generator: np.random.Generator) -> None:
        self.case, self._before, self.generator = case, state, generator
        self.incumbent, self.queries = state.adversarial, state.queries
        kept: NDArray[np.float64] = state.memory.get("scores", np.zeros(4))
        self.sum, self.posts, self.random = float(kept[0]), int(kept[1]), bool(kept[2])
        self.tried = int(kept[3])

    @property
    def mean(self) -> float:
        """The incumbent's score."""
        return self.sum / self.posts

    @property
    def state(self) -> State:
        """What the next round begins from."""
        kept = np.array([self.sum, self.posts, self.random, self.tried], np.float64)
        return self._before.advanced(self.incumbent, queries=self.queries, memory={"scores": kept})
