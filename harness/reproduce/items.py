"""The paper's tables and its Fig. 3, each with its defences."""

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
"""The placeholder in a specification for the path of quilt's bank."""


@dataclass(frozen=True, kw_only=True)
class Item:
    """One table or figure.

    Attributes:
        title: its heading.
        defenses: the specification of each defence, by its name in the table.
        measure: runs the attacks, and returns the figures.
        by_round: whether the attacks go round by round, with fewer photographs.
        notes: the differences from the paper's method.
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
    """Return a table whose columns are the values of one parameter."""
    names = {f"{parameter} = {value:g}": value for value in columns}
    paper = {name: columns[value] for name, value in names.items()}
    return Item(
        title=title,
        defenses={name: defense(value) for name, value in names.items()},
        measure=partial(table, paper=paper),
        notes=(_STANDARD, *notes),
    )


_STANDARD = (
    "The attacks run on the undefended model, and their images are posted as FP32. The paper posts "
    "each image once. C&W is ART's and L-BFGS is SciPy's, with five search steps as in the paper, "
    "which uses Cleverhans with up to 1000 iterations a step. The clean row comes from the posts "
    "of one run, so it varies a little between tables."
)
_LOOP = (
    "The paper's loop adds 0.1 times the raw gradient of the cross-entropy, posts the image once a "
    "round, and stops at the first success; here the image also stays within l2 ≤ 0.05. The paper "
    "counts first successes. Such an image may fail on fresh draws, so ACC on fresh draws and ASR "
    "by first successes may add up to more than 100 %."
)
_SEMI = "The semi-brute-force attack takes the exact gradient of the random operation."
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
                "SSIM is scikit-image's, on RGB in [0, 1] with a window of 7 px. The paper does "
                "not say how it computes SSIM.",
                "'fd, moved by 2 px' moves its output by 2 px, as the published code of FD does.",
                "'bitdepth, bits cut off' does not round, so images become darker.",
                "'tvm, nothing dropped' smooths the whole image; 'tvm' is Guo et al.'s, which "
                "drops half of the values first.",
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
                "The budget is l2 ≤ 0.05; the paper has l∞ ≤ 0.031 for rand, deflect and menet. "
                "The paper collects its figures from various authors, models and data, with "
                "(adversarial) training for crop, jpeg, tvm, quilt, shield and menet. Nothing is "
                "retrained here. PixelDefend and the guided denoiser need unpublished networks.",
                "BPDA takes the whole defence for the identity, on one draw. BPDA+EOT averages "
                "gradients over draws: exact ones of a single operation that has a derivative, "
                "and those of the identity for fd+rdg and fd+rand, as in the paper. The adaptive "
                "attack differentiates every operation that has a derivative; for a single "
                "operation it equals BPDA+EOT. Steps have a fixed l2 of 0.004.",
            ),
        ),
        "table5": _swept(
            "canvas",
            published.TABLE_5,
            canvas,
            "Table V: FD+Rand by the side of the canvas",
            "On a canvas of 300 px images are resized to 299…300 px, the most that fits.",
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
                "For rand and crop, the second attack takes their derivative. crop keeps 0.8 of "
                "each side; the paper's crop costs a third of the accuracy.",
                "The plots show ASR on fresh draws, and the table shows both. The table is of the "
                "last round in Fig. 3; runs that are also in Table II continue after it.",
            ),
        ),
    }
)
"""Every item by its name on the command line."""
