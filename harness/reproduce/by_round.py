"""Tables II and IV and Fig. 3: attacks on the defences themselves, round by round."""

import math
from collections.abc import Mapping

from defenses import Pipeline
from harness.rates import Rate, rates
from harness.reproduce import published
from harness.reproduce.outcome import Figure
from harness.reproduce.reproducer import Reproducer
from harness.results import Run

TARGETS = (0.1, 0.3, 0.5, 0.7, 0.9)
"""The values of ASR in Table II, which lists the rounds that it takes to reach each."""
_PAPERS_LOOP = "rule=raw,step=0.1,early_stop=true"
_DIFFERENTIABLE = ("rand", "crop")
"""The defences whose exact gradients the paper averages in its second pair of plots."""


def attack_of(name: str, defense: str, reproducer: Reproducer, rounds: int) -> str:
    """Return the specification of one of the paper's three attacks, in the paper's loop."""
    if name == "bpda":
        return f"bpda(rounds={rounds},{_PAPERS_LOOP})"
    kind = "adaptive" if name == "bpda-eot" and defense in _DIFFERENTIABLE else name
    return f"{kind}(rounds={rounds},draws={reproducer.scale.draws},{_PAPERS_LOOP})"


def first_success_rate(run: Run, round_: int) -> Rate:
    """Return the share of images with a first success by a round, which the paper counts."""
    rounds = [image.first_success_round for image in run.images]
    return Rate.of(float(each is not None and each <= round_) for each in rounds)


def rounds_to(run: Run, share: float) -> str:
    """Return the rounds until a share of images had a success, or ``100+`` if that never was."""
    rounds = sorted(
        image.first_success_round for image in run.images if image.first_success_round is not None
    )
    wanted = math.ceil(share * len(run.images) - 1e-9)
    if len(rounds) < wanted:
        return f"{run.attack.parameters['rounds']}+"
    return str(rounds[wanted - 1])


def figure_3(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Return ACC and ASR after the last round; the runs have the other rounds."""
    del defenses  # each attack has its own defences
    figures: list[Figure] = []
    for name, published_here in published.FIGURE_3.items():
        for defense, (acc, asr) in published_here.items():
            rounds = reproducer.scale.rounds
            if name == "semi-brute-force" and defense in published.TABLE_2:  # it shares the run
                rounds = max(rounds, reproducer.scale.brute_rounds)
            run = reproducer.run(attack_of(name, defense, reproducer, rounds), defense)
            shown = min(rounds, reproducer.scale.rounds)
            then, first = rates(run, shown), first_success_rate(run, shown)
            figures += [
                Figure.share(defense, name, "ACC, fresh draws", then.acc, acc),
                Figure.share(defense, name, "ASR, first successes", first, asr),
                Figure.share(defense, name, "ASR, fresh draws", then.asr, None),
            ]
    return figures


def table_2(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Return how many rounds the semi-brute-force attack takes."""
    figures: list[Figure] = []
    rounds = max(reproducer.scale.rounds, reproducer.scale.brute_rounds)
    for name, defense in defenses.items():
        run = reproducer.run(attack_of("semi-brute-force", defense, reproducer, rounds), defense)
        figures += [
            Figure(
                row=name,
                column=f"ASR {target:.0%}",
                measure="rounds",
                ours=rounds_to(run, target),
                paper=words,
            )
            for target, words in zip(TARGETS, published.TABLE_2[name], strict=True)
        ]
    return figures


def table_4(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Return the accuracy of each defence under attacks with the budget l2 ≤ 0.05."""
    rounds, draws = reproducer.scale.adaptive_rounds, reproducer.scale.draws
    figures: list[Figure] = []
    for name, defense in defenses.items():
        attack, accuracy = published.TABLE_4.get(name, ("", None))
        exact = reproducer.run(f"adaptive(rounds={rounds},draws={draws})", defense)
        bpda = reproducer.run(f"bpda(rounds={rounds})", defense)
        # For one operation the two are the same; for two the paper's BPDA+EOT takes the identity.
        eot = exact
        if len(Pipeline.parse(defense).operations) > 1:
            eot = reproducer.run(f"bpda-eot(rounds={rounds},draws={draws})", defense)
        asked = {"BPDA": bpda, "BPDA+EOT": eot}
        figures.append(Figure.share(name, "clean", "ACC", rates(exact, 0).acc, None))
        for column, run in asked.items():
            paper = accuracy if column == attack else None
            figures.append(Figure.share(name, column, "ACC", rates(run).acc, paper))
        figures += [
            Figure.share(name, "adaptive", "ACC", rates(exact).acc, None),
            Figure.share(name, "adaptive", "ASR", rates(exact).asr, None),
        ]
    return figures
