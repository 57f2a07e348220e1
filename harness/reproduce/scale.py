"""The scales of a reproduction: enough for a test, hours on a CPU, or all of the paper's work."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """The numbers that determine how long a reproduction takes.

    Attributes:
        photographs: number of photographs for the standard attacks, which attack each once.
        attacked: number of photographs for the attacks round by round, which take far longer.
        rounds: number of rounds of the attacks of Fig. 3.
        brute_rounds: number of rounds of the semi-brute-force attack, which Table II needs.
        adaptive_rounds: number of rounds of the exact attack.
        draws: number of draws averaged in each gradient, which the paper calls an ensemble.
        scoring_draws: number of posts of each scored image; the paper posts each once.
        iterations: number of iterations of C&W and of L-BFGS in each of their five steps.
    """

    photographs: int
    attacked: int
    rounds: int
    brute_rounds: int
    adaptive_rounds: int
    draws: int
    scoring_draws: int
    iterations: dict[str, int]


SCALES = {
    "smoke": Scale(2, 1, 2, 2, 2, 1, 1, {"cw": 1, "l-bfgs": 1}),
    "cpu": Scale(20, 10, 50, 100, 15, 4, 5, {"cw": 20, "l-bfgs": 10}),
    "paper": Scale(100, 100, 50, 10_000, 50, 30, 1, {"cw": 1000, "l-bfgs": 1000}),
}
