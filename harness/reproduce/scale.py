"""How much of the paper's work is done: enough for a test, hours on a CPU, or all of it."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Scale:
    """What costs time, in numbers.

    Attributes:
        photographs: how many are attacked once, by the standard attacks.
        attacked: how many are attacked round by round, which takes far longer.
        rounds: of the attacks of Fig. 3, on each photograph.
        brute_rounds: of the semi-brute-force attack, which Table II follows for longer.
        adaptive_rounds: of the exact attack.
        draws: of the defence, averaged in each gradient: the paper's ensemble.
        scoring_draws: posts of each scored image; the paper has one.
        iterations: of C&W and of L-BFGS, for each of their five steps.
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
