"""Tables III and V to IX: attacks on the undefended model, posted to one defence after another."""

from collections.abc import Mapping, Sequence

from harness.rates import rates
from harness.reproduce import published
from harness.reproduce.outcome import Figure
from harness.reproduce.published import STANDARD, Pair
from harness.reproduce.reproducer import BARE, Reproducer

CLEAN = "clean"


def attack_of(row: str, reproducer: Reproducer) -> str:
    """An attack's specification: ``i-fgsm 0.03`` has its budget, ``cw`` the paper's five steps."""
    name, _, epsilon = row.partition(" ")
    if epsilon:
        return f"{name}(epsilon={epsilon})"
    return f"{name}(iterations={reproducer.scale.iterations[name]})"


def table(
    reproducer: Reproducer,
    defenses: Mapping[str, str],
    paper: Mapping[str, Mapping[str, Pair]],
    rows: Sequence[str] = STANDARD,
    l2: Mapping[str, float] | None = None,
) -> list[Figure]:
    """ACC and ASR of each attack behind each defence.

    Args:
        reproducer: with the photographs.
        defenses: what a column is called, and its defence.
        paper: by column and row.
        rows: the attacks; the clean images come first.
        l2: the paper's, by row, where a table has it: a column of its own.
    """
    figures: list[Figure] = []
    for column, defense in defenses.items():
        published_here = paper[column]
        for row in rows:
            run = reproducer.run(attack_of(row, reproducer), defense)
            before, after = rates(run, 0), rates(run)
            if row == rows[0]:
                acc, _ = published_here[CLEAN]
                figures.append(Figure.share(CLEAN, column, "ACC", before.acc, acc))
            if l2 is not None and defense == BARE:
                figures.append(
                    Figure(row=row, column="l2", measure="l2", ours=after.l2_rms, paper=l2[row])
                )
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


def baseline(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Table VIII, the undefended model: how far each attack goes, and how often it succeeds."""
    figures: list[Figure] = []
    for column, defense in defenses.items():
        for row, (linf, l2, acc, asr) in published.TABLE_8.items():
            attack = attack_of(STANDARD[0] if row == CLEAN else row, reproducer)
            after = rates(reproducer.run(attack, defense), 0 if row == CLEAN else None)
            figures += [
                Figure(row=row, column=column, measure="l∞", ours=after.linf, paper=linf),
                Figure(row=row, column=column, measure="l2", ours=after.l2_rms, paper=l2),
                Figure.share(row, column, "ACC", after.acc, acc),
                Figure.share(row, column, "ASR", after.asr, asr),
            ]
    return figures
