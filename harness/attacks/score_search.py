"""The search of every attack by score: try one change after the other, and keep each that helps.

What is tried is the attack's own (:meth:`ScoreSearch.start`, :meth:`ScoreSearch.candidate`). What
is posted, how often, and what counts as better is decided here, once for all of them.
"""

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, Self

import numpy as np
from numpy.typing import NDArray

from harness.attacks.attack import Attack, Attacker
from harness.attacks.scores import scores
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
"""How many images :meth:`ScoreSearch._step` posts at most for one photograph, each for all its
draws."""
_STAGE = 0.3
"""The part of the draws that ``sequential`` posts before it looks at the scores again."""
_ENOUGH_SINGLE_POSTS = 3
"""``sequential`` posts an incumbent at most about this many times its draws."""
_SURELY_BETTER, _HARDLY_BETTER = 1.5, -0.5
"""The gains, in standard errors, above and below which ``sequential`` decides. Both are lenient,
because most candidates do not help, and a search that is sure of each step makes few of them."""


@dataclass(frozen=True, kw_only=True)
class ScoreSearch(Attack):
    """A search that keeps each change with a lower score: the margin, or with a target its loss.

    The photograph is posted four times. If its scores differ, the defence is random, and a lucky
    draw must not decide. A candidate that looks better is then posted a second time, and becomes
    the incumbent if this second score, too, is below the incumbent's mean score. Each step posts
    the incumbent once more for this mean, up to eight posts. The scores that made a candidate the
    incumbent are forgotten, so that its mean contains only later posts. This is the posting
    ``batch``. A fixed defence is posted each image once, whatever the posting.

    Attributes:
        rounds: into how many parts the queries are divided.
        queries: how many images are posted for one photograph in all. Each draw counts.
        draws: over how many posts each score is averaged if the defence is random.
        posting: ``batch`` posts each image ``draws`` times at once. ``sequential`` posts a
            candidate a few times and goes on only while it may still be better, up to twice
            ``draws`` times.
        quantized: whether images are posted with 8 bits, as image files have them.
    """

    needs_gradients: ClassVar[bool] = False

    rounds: int = 10
    queries: int = 1000
    draws: int = 10
    posting: Literal["batch", "sequential"] = "batch"
    quantized: bool = True

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(self.draws >= 1, "draws", "1 or more")
        each = 2 * _POSTS_PER_STEP
        least = self.rounds * self.draws * each
        values = f"{least} or more, which is {each} for each draw of each round"
        self._require(self.queries >= least, "queries", values)

    @abstractmethod
    def start(self, search: "Search") -> Pixels:
        """Return the first incumbent, inside the budget; it is kept whatever its score is."""

    @abstractmethod
    def candidate(self, search: "Search", attacker: Attacker) -> Pixels:
        """Return the next image to try, inside the budget. ``search.tried`` counts them."""

    def accepted(self, search: "Search") -> None:
        """Note that the last candidate has become the incumbent."""

    def with_more_iterations(self, factor: int) -> Self:
        """Return the attack with ``factor`` times as many queries and rounds."""
        return replace(self, rounds=self.rounds * factor, queries=self.queries * factor)

    def advance(
        self, cases: Sequence[Case], states: Sequence[State], attacker: Attacker
    ) -> list[State]:
        """Spend one part of the queries on all photographs, side by side."""
        searches = [
            Search(case, state, attacker.numpy_random(case, state.round + 1))
            for case, state in zip(cases, states, strict=True)
        ]
        if states[0].round == 0:
            self._begin(searches, attacker)
        draws = self._draws(searches)
        allowed = self.queries * (states[0].round + 1) // self.rounds
        while active := [s for s in searches if s.queries + _POSTS_PER_STEP * draws <= allowed]:
            if self.posting == "sequential" and draws > 1:
                self._step_by_posts(active, attacker)
            else:
                self._step(active, attacker, draws)
        return [search.state for search in searches]

    def _begin(self, searches: Sequence["Search"], attacker: Attacker) -> None:
        """Find out whether the defence is random, and accept the first candidate as it is."""
        photographs = [search.case.image for search in searches]
        repeated = np.array(
            [self._scores(searches, photographs, attacker, 1) for _ in range(_PHOTOGRAPH_POSTS)]
        )
        for search, difference in zip(searches, np.ptp(repeated, axis=0), strict=True):
            search.random = bool(difference > _TOLERANCE)
            search.incumbent = self._as_posted(search.case, self.start(search))
        draws = self._draws(searches)
        if self.posting == "sequential" and draws > 1:
            return  # each step posts what it needs
        images = [search.incumbent for search in searches]
        means = self._scores(searches, images, attacker, draws)
        for search, mean in zip(searches, means, strict=True):
            search.sum, search.posts = mean, 1

    def _draws(self, searches: Sequence["Search"]) -> int:
        """Return how many posts a score takes: an endpoint is random for all images or for none."""
        return self.draws if any(search.random for search in searches) else 1

    def _step(self, searches: Sequence["Search"], attacker: Attacker, draws: int) -> None:
        """Try one candidate for each photograph."""
        images = [
            self._as_posted(search.case, self.candidate(search, attacker)) for search in searches
        ]
        for search in searches:
            search.tried += 1
        unsure = [search for search in searches if search.random and search.posts < _ENOUGH_POSTS]
        found = self._scores(
            [*searches, *unsure],
            [*images, *(search.incumbent for search in unsure)],
            attacker,
            draws,
        )
        for search, score in zip(unsure, found[len(searches) :], strict=True):
            search.sum, search.posts = search.sum + score, search.posts + 1
        better = [
            (search, image, score)
            for search, image, score in zip(searches, images, found, strict=False)
            if score < search.mean
        ]
        doubtful = [(search, image) for search, image, _ in better if search.random]
        second_scores = self._scores(
            [search for search, _ in doubtful], [image for _, image in doubtful], attacker, draws
        )
        for (search, image), score in zip(doubtful, second_scores, strict=True):
            if score < search.mean:
                self._accept(search, image, 0.0, 0)
        for search, image, score in better:
            if not search.random:
                self._accept(search, image, score, 1)

    def _step_by_posts(self, searches: Sequence["Search"], attacker: Attacker) -> None:
        """Try one candidate for each photograph, until it is clearly better or hardly so."""
        trials = [
            _Trial(search, self._as_posted(search.case, self.candidate(search, attacker)))
            for search in searches
        ]
        for search in searches:
            search.tried += 1
        undecided, some = trials, self._stage
        while undecided:
            enough = _ENOUGH_SINGLE_POSTS * self.draws
            again = [
                trial.search
                for trial in undecided
                if trial.search.posts < enough and len(trial.values) + some <= self.draws
            ]
            owners = [*(trial.search for trial in undecided), *again]
            images = [*(trial.image for trial in undecided), *(s.incumbent for s in again)]
            found = self._scores(
                [each for each in owners for _ in range(some)],
                [each for each in images for _ in range(some)],
                attacker,
                1,
            )
            values = np.array(found).reshape(-1, some)
            for trial, row in zip(undecided, values, strict=False):
                trial.values += row.tolist()
            for search, row in zip(again, values[len(undecided) :], strict=True):
                search.sum += float(row.sum())
                search.squares += float(np.square(row).sum())
                search.posts += some
            undecided = [trial for trial in undecided if not self._decided(trial)]

    def _decided(self, trial: "_Trial") -> bool:
        """Accept or refuse a candidate, or return that it is to be posted again."""
        search, values = trial.search, np.array(trial.values)
        count, gain = len(values), search.mean - values.mean()
        spread = values.var() * count + search.squares - search.sum**2 / search.posts
        variance = max(spread, 0.0) / max(count + search.posts - 2, 1)
        error = float(np.sqrt(variance * (1 / count + 1 / search.posts)))
        last = count + self._stage > 2 * self.draws
        if gain > (0 if last else _SURELY_BETTER * error):
            self._accept(search, trial.image, 0.0, 0)
            return True
        return last or gain < _HARDLY_BETTER * error

    @property
    def _stage(self) -> int:
        return max(round(self.draws * _STAGE), 1)

    def _accept(self, search: "Search", image: Pixels, total: float, posts: int) -> None:
        search.incumbent, search.sum, search.posts, search.squares = image, total, posts, 0.0
        self.accepted(search)

    def _as_posted(self, case: Case, image: Pixels) -> Pixels:
        return as_pixels(self.budget.post(case.image, image, quantized=self.quantized))

    def _scores(
        self,
        searches: Sequence["Search"],
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


class Search:
    """The search on one photograph: the fields of its :class:`State`, changed during one round.

    Attributes:
        case: the photograph.
        generator: the randomness of this round.
        incumbent: the best image so far.
        tried: how many candidates were tried.
        queries: how many images were posted.
        random: whether the defence is random.
        sum, posts: the sum of the incumbent's scores, and their number.
        squares: the sum of the squares of the scores, if each is of one post.
    """

    def __init__(self, case: Case, state: State, generator: np.random.Generator) -> None:
        self.case, self._before, self.generator = case, state, generator
        self.incumbent, self.queries = state.adversarial, state.queries
        kept: NDArray[np.float64] = state.memory.get("scores", np.zeros(5))
        self.sum, self.posts, self.random = float(kept[0]), int(kept[1]), bool(kept[2])
        self.tried, self.squares = int(kept[3]), float(kept[4])

    @property
    def mean(self) -> float:
        """The incumbent's mean score."""
        return self.sum / self.posts

    @property
    def state(self) -> State:
        """The state after this round."""
        kept = np.array([self.sum, self.posts, self.random, self.tried, self.squares], np.float64)
        return self._before.advanced(self.incumbent, queries=self.queries, memory={"scores": kept})


class _Trial:
    """One candidate, and the scores of its posts so far."""

    def __init__(self, search: Search, image: Pixels) -> None:
        self.search, self.image = search, image
        self.values: list[float] = []
