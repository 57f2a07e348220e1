"""Tables III and V to IX: attacks on the undefended model, posted to one defence after another."""

from collections.abc import Mapping, Sequence

from harness.reproduce import published
from harness.reproduce.bench import Bench
from harness.reproduce.outcome import Figure
from harness.reproduce.published import STANDARD, Pair
from harness.statistics import rates

CLEAN = "clean"


def attack_of(row: str, bench: Bench) -> str:
    """An attack's specification: ``i-fgsm 0.03`` has its budget, ``cw`` the paper's five steps."""
    name, _, epsilon = row.partition(" ")
    if epsilon:
        return f"{name}(epsilon={epsilon})"
    return f"{name}(iterations={bench.scale.iterations[name]})"


def table(
    bench: Bench,
    defenses: Mapping[str, str],
    paper: Mapping[str, Mapping[str, Pair]],
    rows: Sequence[str] = STANDARD,
) -> list[Figure]:
    """ACC and ASR of each attack behind each defence.

    Args:
        bench: with the photographs.
        defenses: what a column is called, and its defence.
        paper: by column and row.
        rows: the attacks; the clean images come first.
    """
    figures: list[Figure] = []
    for column, defense in defenses.items():
        published_here = paper[column]
        for row in rows:
            run = bench.run(attack_of(row, bench), defense)
            before, after = rates(run, 0), rates(run)
            if row == rows[0]:
                acc, _ = published_here[CLEAN]
                figures.append(Figure.share(CLEAN, column, "ACC", before.acc, acc))
            pair = published_here.get(row, (None, None))
            figures.append(Figure.share(row, column, "ACC", after.acc, pair[0]))
            figures.append(Figure.share(row, column, "ASR", after.asr, pair[1]))
    return figures


def canvas(side: float) -> str:
    """``fd+rand`` on another canvas; an image is never enlarged beyond it."""
    if side == 400:
        return "fd+rand"
    largest = f"largest={side:.0f}," if side < 330 else ""
    return f"fd+rand({largest}canvas={side:.0f})"


def distortion(delta: float) -> str:
    """``fd+rdg`` with another limit of the distortion."""
    return "fd+rdg" if delta == 0.15 else f"fd+rdg(delta={delta:g})"


def padding(value: float) -> str:
    """``fd+rand`` on a canvas of another value."""
    return "fd+rand" if value == 0.5 else f"fd+rand(value={value:g})"


def baseline(bench: Bench, defenses: Mapping[str, str]) -> list[Figure]:
    """Table VIII, the undefended model: how far each attack goes, and how often it succeeds."""
    figures: list[Figure] = []
    for column, defense in defenses.items():
        for row in STANDARD:
            after = rates(bench.run(attack_of(row, bench), defense))
            linf, l2, acc, asr = published.TABLE_8[row]
            figures += [
                Figure(row=row, column=column, measure="l∞", ours=after.linf, paper=linf),
                Figure(row=row, column=column, measure="l2", ours=after.l2, paper=l2),
                Figure.share(row, column, "ACC", after.acc, acc),
                Figure.share(row, column, "ASR", after.asr, asr),
            ]
    return figures
