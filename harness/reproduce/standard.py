"""Tables III and V to IX: attacks on the undefended model, whose images every defence gets."""

from collections.abc import Mapping, Sequence

from harness.rates import rates
from harness.reproduce import published
from harness.reproduce.outcome import Figure
from harness.reproduce.published import STANDARD, Pair
from harness.reproduce.reproducer import BARE, Reproducer

CLEAN = "clean"


def attack_of(row: str, reproducer: Reproducer) -> str:
    """Return the specification of a row: ``i-fgsm 0.03`` names its budget, ``cw`` does not."""
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
    """Return ACC and ASR of each attack behind each defence.

    Args:
        reproducer: runs the attacks.
        defenses: the defence of each column.
        paper: the paper's figures, by column and row.
        rows: the attacks; the row of the clean images precedes them.
        l2: the paper's l2, by row, if the table has a column for it.
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
    """Return ``fd+rand`` with another canvas; images are not enlarged beyond the canvas."""
    if side == 400:
        return "fd+rand"
    largest = f"largest={side:.0f}," if side < 330 else ""
    return f"fd+rand({largest}canvas={side:.0f})"


def distortion(delta: float) -> str:
    """Return ``fd+rdg`` with another limit of the distortion."""
    return "fd+rdg" if delta == 0.15 else f"fd+rdg(delta={delta:g})"


def padding(value: float) -> str:
    """Return ``fd+rand`` with another value of the canvas."""
    return "fd+rand" if value == 0.5 else f"fd+rand(value={value:g})"


def baseline(reproducer: Reproducer, defenses: Mapping[str, str]) -> list[Figure]:
    """Return Table VIII: how far each attack on the bare model moves, and how often it succeeds."""
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
