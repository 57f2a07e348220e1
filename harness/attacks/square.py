"""The attack on an endpoint that returns probabilities.

ART's Square is not used: it has no targets, posts every image three times for one comparison, puts
the squares of all images in the same place, and draws from numpy's global generator.
"""

from dataclasses import dataclass
from typing import ClassVar, Literal

from harness.attacks.attack import Attacker
from harness.attacks.score_search import ScoreSearch, Search
from harness.attacks.square_proposals import candidate, square_fraction, start
from harness.types import Pixels


@dataclass(frozen=True, kw_only=True)
class Square(ScoreSearch):
    """Random search: try squares of the largest change, and keep each that lowers the score.

    The score is the paper's: the margin of the label without a target, the cross-entropy with one.

    Attributes:
        first_fraction: the fraction of the pixels in the first square. The paper has 0.05 for l∞
            and 0.1 for l2 with 10 000 queries; AutoAttack has 0.8 for fewer (Croce and Hein 2020,
            arXiv:2003.01690). The schedule of the sizes is scaled to the queries and advances with
            the candidates, because scores that scatter hide the effect of a small square.
    """

    name: ClassVar[str] = "square"
    summary: ClassVar[str] = "Random search by the endpoint's probabilities alone"
    reference: ClassVar[str] = "Andriushchenko et al. 2020, arXiv:1912.00049"

    norm: Literal["l2", "linf"] = "linf"
    epsilon: float = 8 / 255
    first_fraction: float = 0.8

    def __post_init__(self) -> None:
        super().__post_init__()
        self._require(0 < self.first_fraction <= 1, "first_fraction", "in (0, 1]")

    def start(self, search: Search) -> Pixels:
        """Return stripes, or for l2 a chessboard of humps."""
        return start(search.case.image, self.budget, search.generator)

    def candidate(self, search: Search, attacker: Attacker) -> Pixels:
        """Return the incumbent with one more square."""
        del attacker
        fraction = square_fraction(self.first_fraction, search.tried / self.queries)
        return candidate(
            search.case.image, search.incumbent, self.budget, fraction, search.generator
        )
