"""The paper's tables and its Fig. 3, each with the defences that it needs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from harness.reproduce import published
from harness.reproduce.by_round import figure_3, table_2, table_4
from harness.reproduce.changes import table_1
from harness.reproduce.outcome import Figure
from harness.reproduce.reproducer import Reproducer
from harness.reproduce.standard import baseline, canvas, distortion, padding, table

BANK = "{bank}"
"""In a defence: where the bank of ``quilt`` will be."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One table or figure.

    Attributes:
        title: what it shows.
        defenses: what each is called in it, and its specification.
        measure: does the work.
        by_round: whether attacks go round by round, on fewer photographs.
        notes: what differs from the paper's way of doing it.
    """

    title: str
    defenses: Mapping[str, str]
    measure: Callable[[Reproducer, Mapping[str, str]], list[Figure]]
    by_round: bool = False
    notes: tuple[str, ...] = ()


def _themselves(*names: str) -> dict[str, str]:
    return {name: name for name in names}


def _swept(
    parameter: str,
    columns: Mapping[float, Mapping[str, published.Pair]],
    defense: Callable[[float], str],
    title: str,
    *notes: str,
) -> Item:
    """A table whose columns are the values of one parameter."""
    names = {f"{parameter} = {value:g}": value for value in columns}
    paper = {name: columns[value] for name, value in names.items()}
    return Item(
        title=title,
        defenses={name: defense(value) for name, value in names.items()},
        measure=partial(table, paper=paper),
        notes=(_STANDARD, *notes),
    )


_STANDARD = (
    "Attacks are made on the undefended model, and posted as FP32; the paper posts each image "
    "once. C&W is ART's and L-BFGS SciPy's, with five search steps as in the paper, which has up "
    "to 1000 iterations of Cleverhans' in each. The clean row is of the posts of one run, so that "
    "it moves a little from table to table."
)
_LOOP = (
    "The paper's loop: raw gradients of the cross-entropy times 0.1, posted once a round, an image "
    "being left at its first hit; here the image is kept within l2 ≤ 0.05 besides. The paper "
    "counts first hits. On fresh draws an image that was left need not succeed again, so that ACC "
    "on fresh draws and ASR on first hits may add up to more than all."
)
_SEMI = "The semi-brute-force attack has the exact gradient of the random operation."
_ALL = {
    **_themselves("fd+rdg", "fd+rand", "rdg", "rand", "fd", "shield", "tvm", "bitdepth"),
    **_themselves("deflect", "jpeg", "crop", "menet"),
    "quilt": f"quilt(bank={BANK})",
}
_FIGURE_3 = dict.fromkeys(name for each in published.FIGURE_3.values() for name in each)

ITEMS: Mapping[str, Item] = MappingProxyType(
    {
        "table1": Item(
            title="Table I: accuracy and amount of change of the defences",
            defenses=_ALL | {"tvm, nothing dropped": "tvm(keep=1)"},
            measure=table_1,
            notes=(
                "SSIM is scikit-image's, on RGB in [0, 1] with its 7 px window; the paper does not "
                "say how its own was computed.",
                "The published code moves the output of FD by 2 px; 'fd, moved by 2 px' does so.",
                "'bitdepth, bits cut off' does not round, so that images become darker.",
                "'tvm, nothing dropped' smooths the whole image; tvm is Guo et al.'s, which drops "
                "half of the values first.",
            ),
        ),
        "table2": Item(
            title="Table II: rounds of the semi-brute-force attack to an ASR",
            defenses=_themselves(*published.TABLE_2),
            measure=table_2,
            by_round=True,
            notes=(_LOOP, _SEMI),
        ),
        "table3": Item(
            title="Table III: standard attacks on the two defences",
            defenses=_themselves(*published.TABLE_3),
            measure=partial(
                table,
                paper=published.TABLE_3,
                rows=tuple(published.TABLE_3_L2),
                l2=published.TABLE_3_L2,
            ),
            notes=(_STANDARD,),
        ),
        "table4": Item(
            title="Table IV: accuracy inside the budget, with the exact attacker's column",
            defenses=_ALL,
            measure=table_4,
            by_round=True,
            notes=(
                "l2 ≤ 0.05 for all; the paper has l∞ ≤ 0.031 for rand, deflect and menet. Its "
                "figures are of various authors, models and data, with (adversarial) training for "
                "crop, jpeg, tvm, quilt, shield and menet; nothing is retrained here. PixelDefend "
                "and the guided denoiser need networks that nobody ships.",
                "BPDA takes the whole defence for the identity, on one draw. BPDA+EOT averages: of "
                "an operation that has a derivative that one, of fd+rdg and fd+rand the identity "
                "again, as the paper does. The adaptive attack differentiates all that can be; of "
                "a single operation the two are one. Steps have a fixed l2 of 0.004.",
            ),
        ),
        "table5": _swept(
            "canvas",
            published.TABLE_5,
            canvas,
            "Table V: FD+Rand by the side of the canvas",
            "On a canvas of 300 px images are resized to 299…300 px: larger ones have no room.",
        ),
        "table6": _swept(
            "δ",
            published.TABLE_6,
            distortion,
            "Table VI: FD+RDG by the limit of the distortion",
            "The paper's ACC of 0.05 for I-FGSM 0.01 at δ = 0.05 may be a misprint of 0.95.",
        ),
        "table7": Item(
            title="Table VII: standard attacks on the defences and their parts",
            defenses=_themselves(*published.TABLE_7),
            measure=partial(table, paper=published.TABLE_7),
            notes=(_STANDARD,),
        ),
        "table8": Item(
            title="Table VIII: standard attacks on the undefended model",
            defenses=_themselves("none"),
            measure=baseline,
            notes=(_STANDARD,),
        ),
        "table9": _swept(
            "value",
            published.TABLE_9,
            padding,
            "Table IX: FD+Rand by the value of the canvas",
        ),
        "fig3": Item(
            title="Fig. 3: ACC and ASR of the defences by round",
            defenses=_themselves(*_FIGURE_3),
            measure=figure_3,
            by_round=True,
            notes=(
                _LOOP,
                _SEMI,
                "For rand and crop, which have a derivative, the second attack takes it. crop "
                "keeps 0.8 of each side; the paper's costs a third of the accuracy.",
                "The plots have ASR on fresh draws, the table has both. It is of the last of the "
                "rounds that Fig. 3 shows; runs that Table II has too go on after it.",
            ),
        ),
    }
)
"""Every item by the name that the command line calls it."""
