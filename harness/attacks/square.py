"""The attack on an endpoint that returns probabilities.

ART's Square is not used: it has no targets, posts every image three times for one comparison, puts
the squares of all images in the same place, and draws from numpy's global generator.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker
from harness.attacks.scores import scores
from harness.attacks.square_proposals import candidate, square_fraction, start
from harness.budget import as_pixels, to_8_bits
from harness.types import Case, Pixels, State

_PHOTOGRAPH_POSTS = 4
"""How often the photograph is posted to find out whether the defence is random. Two are not enough,
because two draws may agree by chance."""
_TOLERANCE = 1e-5
"""Scores of one image that differ by more come from a random defence. A model that rounds worse is
taken for random, which costs only queries. A random defence that is taken for fixed would keep its
luckiest draw."""
_ENOUGH_POSTS = 8
"""The mean score of an incumbent is final after this many posts."""
_POSTS_PER_STEP = 3
"""How many images :meth:`Square._step` posts at most for one photograph, each for all its draws."""


@dataclass(frozen=True, kw_only=True)
class Square(Attack):
    """Random search: try squares of the largest change, and keep each that lowers the score.

    The score is the paper's: the margin of the label without a target, the cross-entropy with one.
    The photograph is posted four times. If its scores differ, the defence is random, and a lucky
    draw must not decide. A candidate that looks better is then posted a second time, and becomes
    the incumbent if this second score, too, is below the incumbent's mean score. Each step posts
    the incumbent once more for this mean, up to eight posts. The scores that made a candidate the
    incumbent are forgotten, so that its mean contains only later posts.

    Attributes:
        rounds: into how many parts the queries are divided.
        queries: how many images are posted for one photograph in all. Each draw counts.
        draws: over how many posts each score is averaged if the defence is random.
        first_fraction: the fraction of the pixels in the first square. The paper has 0.05 for l∞
            and 0.1 for l2 with 10 000 queries; AutoAttack has 0.8 for fewer (Croce and Hein 2020,
            arXiv:2003.01690). The schedule of the sizes is scaled to the queries and advances with
            the candidates, because scores that scatter hide the effect of a small square.
        quantized: whether images are posted with 8 bits, as image files have them.
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
    first_fraction: float = 0.8
    quantized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.draws >= 1, "draws", "1 or more")
        each = 2 * _POSTS_PER_STEP
        least = self.rounds * self.draws * each
        values = f"{least} or more, which is {each} for each draw of each round"
        self._require(self.queries >= least, "queries", values)
        self._require(0 < self.first_fraction <= 1, "first_fraction", "in (0, 1]")

    def with_more_iterations(self, factor: int) -> Self:
        """Return the attack with ``factor`` times as many queries and rounds."""
        return replace(self, rounds=self.rounds * factor, queries=self.queries * factor)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Spend one part of the queries on all photographs, side by side."""
        searches = [
            _Search(case, state, attacker.numpy_random(case, state.round + 1))
            for case, state in zip(cases, states, strict=True)
        ]
        if states[0].round == 0:
            self._begin(searches, attacker)
        draws = self._draws(searches)
        allowed = self.queries * (states[0].round + 1) // self.rounds
        while active := [s for s in searches if s.queries + _POSTS_PER_STEP * draws <= allowed]:
            self._step(active, attacker, draws)
        return [search.state for search in searches]

    def _begin(self, searches: Sequence["_Search"], attacker: Attacker) -> None:
        """Find out whether the defence is random, and accept the first candidate as it is."""
        photographs = [search.case.image for search in searches]
        repeated = np.array(
            [self._scores(searches, photographs, attacker, 1) for _ in range(_PHOTOGRAPH_POSTS)]
        )
        for search, difference in zip(searches, np.ptp(repeated, axis=0), strict=True):
            search.random = bool(difference > _TOLERANCE)
            search.incumbent = self._as_posted(
                search.case, start(search.case.image, self.budget, search.generator)
            )
        images = [search.incumbent for search in searches]
        means = self._scores(searches, images, attacker, self._draws(searches))
        for search, mean in zip(searches, means, strict=True):
            search.sum, search.posts = mean, 1

    def _draws(self, searches: Sequence["_Search"]) -> int:
        """Return how many posts a score takes: an endpoint is random for all images or for none."""
        return self.draws if any(search.random for search in searches) else 1

    def _step(self, searches: Sequence["_Search"], attacker: Attacker, draws: int) -> None:
        """Try one candidate for each photograph."""
        images = [
            self._as_posted(
                search.case,
                candidate(
                    search.case.image,
                    search.incumbent,
                    self.budget,
                    square_fraction(self.first_fraction, search.tried / self.queries),
                    search.generator,
                ),
            )
            for search in searches
        ]
        for search in searches:
            search.tried += 1
        unsure = [search for search in searches if search.random and search.posts < _ENOUGH_POSTS]
        scores = self._scores(
            [*searches, *unsure],
            [*images, *(search.incumbent for search in unsure)],
            attacker,
            draws,
        )
        for search, score in zip(unsure, scores[len(searches) :], strict=True):
            search.sum, search.posts = search.sum + score, search.posts + 1
        better = [
            (search, image, score)
            for search, image, score in zip(searches, images, scores, strict=False)
            if score < search.mean
        ]
        doubtful = [(search, image) for search, image, _ in better if search.random]
        second_scores = self._scores(
            [search for search, _ in doubtful], [image for _, image in doubtful], attacker, draws
        )
        for (search, image), score in zip(doubtful, second_scores, strict=True):
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
        """Post one image for each search, and return the scores, which the attack minimises."""
        if not images:
            return []
        posted = [to_8_bits(image) if self.quantized else image for image in images]
        probabilities = attacker.victim.probabilities(posted, draws)
        for search in searches:
            search.queries += draws
        cases = [search.case for search in searches]
        return scores(probabilities, cases, targeted=self.targeted)


class _Search:
    """The search on one photograph: the fields of its :class:`State`, changed during one round."""

    def __init__(self, case: Case, state: State, generator: np.random.Generator) -> None:
        self.case, self._before, self.generator = case, state, generator
        self.incumbent, self.queries = state.adversarial, state.queries
        kept: NDArray[np.float64] = state.memory.get("scores", np.zeros(4))
        self.sum, self.posts, self.random = float(kept[0]), int(kept[1]), bool(kept[2])
        self.tried = int(kept[3])

    @property
    def mean(self) -> float:
        """The incumbent's mean score."""
        return self.sum / self.posts

    @property
    def state(self) -> State:
        """The state after this round."""
        kept = np.array([self.sum, self.posts, self.random, self.tried], np.float64)
        return self._before.advanced(self.incumbent, queries=self.queries, memory={"scores": kept})
