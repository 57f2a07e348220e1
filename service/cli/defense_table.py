"""The operations as ``warpguard defenses`` lists them: what they do, and what was measured."""

from dataclasses import MISSING, asdict, fields
from typing import Any

from rich.markup import escape
from rich.table import Table

from defenses import OPERATIONS
from defenses.measured import measured

_CAPTION = (
    "accuracy: as a share of the undefended model's; l2, SSIM: how far the image is changed; "
    "random: l2 between two draws; flat: the share of values with a gradient of zero; ms: for "
    "299x299 on one core; –: not measured. Measured with {setting}.\n"
    "Join them with +, as in fd+rdg or fd(step=20)*2+rdg(delta=0.1)."
)


def rows() -> list[dict[str, Any]]:
    """One for each operation; ``measured`` is None where that depends on what its user brings."""
    known = measured()
    listed: list[dict[str, Any]] = []
    for name, kind in OPERATIONS.items():
        defaults = {field.name: field.default for field in fields(kind)}
        required = [key for key, default in defaults.items() if default is MISSING]
        figures = known.operations.get(name)
        listed.append(
            {
                "name": name,
                "summary": kind.summary,
                # Not made, as some need a file; the defaults are attributes of the class too.
                "random": kind.__new__(kind).random,
                "parameters": {k: None if k in required else v for k, v in defaults.items()},
                "required": required,
                "reference": kind.reference,
                "measured": None if figures is None else asdict(figures),
            }
        )
    return listed


def table(listed: list[dict[str, Any]]) -> Table:
    """The rows for a terminal."""
    shown = Table(caption=_CAPTION.format(setting=measured().setting), show_lines=True)
    shown.add_column("name")
    shown.add_column("what it does, from whom, and its defaults")
    for heading in ("accuracy", "l2", "SSIM", "random", "flat", "ms"):
        shown.add_column(heading, justify="right", no_wrap=True)
    for row in listed:
        parameters = ", ".join(
            f"{key}=FILE" if key in row["required"] else f"{key}={value}"
            for key, value in row["parameters"].items()
        )
        words = "\n".join(map(escape, (row["reference"], parameters)))
        shown.add_row(
            row["name"],
            f"{escape(row['summary'])}\n[dim]{words}[/]",
            *(["–"] * 6 if row["measured"] is None else _figures(**row["measured"])),
        )
    return shown


def _figures(
    *,
    accuracy: float,
    undefended: float,
    l2: float,
    ssim: float,
    spread: float,
    flat: float,
    ms: float,
) -> list[str]:
    """What was measured, in the order of the columns."""
    return [
        f"{accuracy / undefended:.0%}",
        f"{l2:.3f}",
        f"{ssim:.2f}",
        f"{spread:.3f}" if spread else "no",
        f"{flat:.0%}",
        f"{ms:.1f}",
    ]
